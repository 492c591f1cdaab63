//! Join tokens as text, and certificates as a peer shows them: what strangers can send before anybody knows them.
//!
//! A text that is taken for a token is that token's only text; a leaf that is taken for one of ours names somebody whose
//! name reads back. Made with real keys and a real authority.

use orchestrator::pki::authority::Authority;
use orchestrator::pki::sealer::Sealer;
use orchestrator::pki::shown;
use proto::id::{ClusterId, NodeId, ServerId};
use proto::identity::{CertificateName, Subject};
use proto::join_token::{JoinToken, TokenKind};
use proto::peer::PrivateKey;
use proto::revision::{Epoch, Wall};
use tests::sim::rng::Rng;

use super::mutate;
use super::run::Target;

/// Texts.
#[derive(Debug)]
pub struct Tokens {
    sound: Vec<Vec<u8>>,
}

fn token(rng: &mut Rng) -> JoinToken {
    let kind = if rng.chance(500) { TokenKind::Agent } else { TokenKind::Operator };
    let mut bytes = || rng.range(0, u64::MAX - 1).to_be_bytes();
    let (cluster, id, first, second) = (bytes(), bytes(), bytes(), bytes());
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&first);
    secret[8..].copy_from_slice(&second);
    let pin = std::array::from_fn(|at| first[at % 8] ^ at as u8);
    JoinToken { kind, cluster: ClusterId(u64::from_be_bytes(cluster)), pin, id: u64::from_be_bytes(id), secret }
}

// === impl Tokens ===

impl Tokens {
    pub fn new() -> Tokens {
        let mut rng = Rng::new(1);
        Tokens { sound: (0..8).map(|_| token(&mut rng).reveal().into_bytes()).collect() }
    }
}

impl Target for Tokens {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        const WORDS: [&[u8]; 10] = [
            b"wherry-",
            b"agent-",
            b"operator-",
            b"wherry-agent-",
            b" ",
            b"\n",
            b"=",
            b"-_",
            "\u{e4}".as_bytes(),
            b"AAAA",
        ];
        match rng.range(0, 9) {
            // Sound ones, with bodies that nobody wrote but whose checksum may hold.
            0 => token(rng).reveal().into_bytes(),
            1 => {
                // As many characters as belong there, or about that.
                const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let length = if rng.chance(700) { 91 } else { rng.range(0, 200) };
                let body = (0..length).map(|_| ALPHABET[rng.range(0, 63) as usize]);
                b"wherry-agent-".iter().copied().chain(body).collect()
            }
            _ => mutate::bytes(rng, &self.sound, &WORDS),
        }
    }

    fn run(&self, input: &[u8]) {
        let text = String::from_utf8_lossy(input);
        match text.parse::<JoinToken>() {
            Ok(token) => {
                assert_eq!(token.reveal(), text.trim(), "a token has one text");
                let other = if token.kind == TokenKind::Agent { TokenKind::Operator } else { TokenKind::Agent };
                assert!(JoinToken::read(&text, token.kind).is_ok() && JoinToken::read(&text, other).is_err());
                assert!(format!("{token:?}").len() < 48, "it does not print itself");
            }
            Err(error) => assert!(error.to_string().len() < 200, "what is said does not repeat what was given"),
        }
    }
}

/// Leaves, DER, and the names in them.
#[derive(Debug)]
pub struct Certificates {
    leaves: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
}

// === impl Certificates ===

impl Certificates {
    pub fn new() -> Certificates {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let sealer = Sealer::open(&dir.path().join("seal.key"), true).expect("a key");
        let (cluster, now) = (ClusterId(7), Wall(1_800_000_000_000));
        let kept = Authority::found(cluster, now, &sealer).expect("founded");
        let authority = Authority::open(&kept, cluster, &sealer).expect("opens");
        let subjects = [
            Subject::Agent(NodeId(0xa1)),
            Subject::Server(ServerId(3)),
            Subject::Operator("alice".parse().expect("a name")),
        ];
        let names = subjects.map(|subject| CertificateName { cluster, subject, epoch: Epoch(1), until: now });
        let issue = |name: &CertificateName| {
            let key = PrivateKey::generate().expect("a key").public();
            authority.issue(&CertificateName { until: Wall(now.0 + 1_000), ..name.clone() }, &key, now).expect("issued")
        };
        let mut leaves: Vec<Vec<u8>> = names.iter().map(issue).collect();
        leaves.push(authority.certificate().to_vec());
        Certificates { leaves, names: names.iter().map(|name| name.to_string().into_bytes()).collect() }
    }
}

/// The first byte says which.
const LEAF: u8 = 0;
const NAME: u8 = 1;

impl Target for Certificates {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        const DER: [&[u8]; 8] = [
            b"\x30\x82\xff\xff",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x80",
            b"\x02\x01",
            b"\x03\x21\x00",
            b"\x06\x03\x55\x1d\x11",
            b"\x86\x81\xff",
            b"\xa3\x82",
        ];
        const WORDS: [&[u8]; 8] = [b"wherry://", b"/", b"agent/", b"operator/", b"server/", b"?", b"0", b"%2f"];
        let (kind, sound, words) =
            if rng.chance(600) { (LEAF, &self.leaves, &DER) } else { (NAME, &self.names, &WORDS) };
        let mut input = vec![kind];
        input.extend(mutate::bytes(rng, sound, words));
        input
    }

    fn run(&self, input: &[u8]) {
        let Some((kind, bytes)) = input.split_first() else { return };
        let name = match *kind {
            LEAF => shown::read(bytes).map(|shown| {
                assert_eq!(shown.key.len(), 32, "an Ed25519 key");
                shown.name
            }),
            _ => String::from_utf8_lossy(bytes).parse::<CertificateName>().ok(),
        };
        if let Some(name) = name {
            assert_eq!(name.to_string().parse::<CertificateName>().ok().as_ref(), Some(&name), "a name reads back");
        }
    }
}
