//! Frames of the log: whatever lies on disk is read or refused; what is read is written as it was understood.

use std::path::Path;

use orchestrator::raft::{Stored, understand};
use tests::sim::rng::Rng;

use super::mutate;
use super::run::Target;

/// Format and State version in front, the checksum behind.
const HEADER_BYTES: usize = 5;
const TRAILER_BYTES: usize = 4;

#[derive(Debug)]
pub struct Frames {
    sound: Vec<Vec<u8>>,
}

impl Frames {
    /// The fixtures, which are what releases wrote; the largest ones last.
    pub fn new() -> Frames {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orchestrator/fixtures");
        let files = std::fs::read_dir(&dir).expect("the fixtures are there");
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        let sound: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).expect("a fixture")).collect();
        let kinds = [Stored::Entry, Stored::Batch, Stored::Snapshot, Stored::Vote];
        for (path, frame) in paths.iter().zip(&sound) {
            assert!(kinds.iter().any(|kind| understand(*kind, frame).is_ok()), "{} is sound", path.display());
        }
        Frames { sound }
    }
}

/// The checksum that belongs to it: otherwise no change would get past it.
fn seal(frame: &mut Vec<u8>) {
    let content = frame.len().saturating_sub(TRAILER_BYTES);
    frame.truncate(content);
    let checksum = crc32fast::hash(frame);
    frame.extend_from_slice(&checksum.to_le_bytes());
}

/// MessagePack's own words: lengths that promise much, numbers at their edges, nesting.
const WORDS: [&[u8]; 14] = [
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xc0",
    b"\x91\x91\x91\x91\x91\x91\x91\x91",
    b"\x81\xa1\x61",
    b"\xc1",
    b"\xa7request",
    b"\xa7command",
];

impl Target for Frames {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        let mut frame = if rng.chance(20) {
            // Nothing but nesting.
            let open: &[u8] = rng.pick(&[&b"\x91"[..], b"\x81\xa1\x61", b"\x81\x90"]).copied().unwrap_or_default();
            let mut frame = vec![1, 1, 0, 0, 0];
            frame.extend(open.repeat(rng.range(1, 12_000) as usize));
            frame
        } else {
            mutate::bytes(rng, &self.sound, &WORDS)
        };
        if frame.len() > HEADER_BYTES && rng.chance(900) {
            frame[..HEADER_BYTES].copy_from_slice(&[1, rng.range(0, 2) as u8, 0, 0, 0]);
        }
        if rng.chance(950) {
            seal(&mut frame);
        }
        frame
    }

    fn run(&self, frame: &[u8]) {
        for kind in [Stored::Entry, Stored::Batch, Stored::Snapshot, Stored::Vote] {
            if let Ok(written) = understand(kind, frame) {
                let again = understand(kind, &written).expect("what was written can be read");
                assert!(again == written, "{kind:?} is written as it was understood");
            }
        }
    }
}
