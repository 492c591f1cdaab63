//! Every reason is told in some transcript, every example is named by some test.

use orchestrator::engine::Reason;
use orchestrator::engine::model::StopFirst;
use proto::id::{NodeId, TaskId};
use proto::spec::DependencyCondition;

use super::assert_none;
use super::source::tokens;
use super::tree::{File, files, is_test, root};

/// Reasons that no scenario shows, each with why not. Empty is how it should be.
const UNTOLD: &[(&str, &str)] = &[];

/// Stands where a reason tells a number or a name, so that the words around it can be looked for.
const BLANK: u64 = 0x77_7777;
/// The same in an id.
const BLANK_HEX: &str = "777777";

/// One of each reason, by the name of its variant.
fn reasons() -> Vec<(&'static str, Reason)> {
    let dependency = || format!("x{BLANK}").parse().expect("a service's name");
    let condition = DependencyCondition::Healthy;
    vec![
        ("SlotEmpty", Reason::SlotEmpty),
        ("SpecChanged", Reason::SpecChanged),
        ("SpecChangedStopFirst", Reason::SpecChangedStopFirst),
        ("Prepares", Reason::Prepares { because: StopFirst::HostPort { port: 53 } }),
        ("PredecessorStopped", Reason::PredecessorStopped),
        ("NewTaskFailed", Reason::NewTaskFailed),
        ("NotReadyInTime", Reason::NotReadyInTime { ms: 23_000 }),
        ("NotPlacedInTime", Reason::NotPlacedInTime { ms: 30_000 }),
        ("NoNodeNow", Reason::NoNodeNow),
        ("TooManyFailed", Reason::TooManyFailed { failed: 1, allowed: 0 }),
        ("OthersDone", Reason::OthersDone),
        ("AllDone", Reason::AllDone),
        ("PlacedDone", Reason::PlacedDone { without_node: 1 }),
        ("Superseded", Reason::Superseded { by: TaskId(BLANK) }),
        ("NeverReady", Reason::NeverReady),
        ("ScaledDown", Reason::ScaledDown { replicas: BLANK as u32 }),
        ("Misplaced", Reason::Misplaced { because: "no node has slot 3".to_owned() }),
        ("ServiceRemoved", Reason::ServiceRemoved),
        ("ProjectDeleted", Reason::ProjectDeleted),
        ("NodeLost", Reason::NodeLost { node: NodeId(BLANK) }),
        ("NodeCameBack", Reason::NodeCameBack { node: NodeId(BLANK) }),
        ("KeptFailing", Reason::KeptFailing { failures: BLANK as u32 }),
        ("LeaseExpired", Reason::LeaseExpired),
        ("HeardAgain", Reason::HeardAgain),
        ("DependencyMet", Reason::DependencyMet { dependency: dependency(), condition }),
        ("DependencyAbsent", Reason::DependencyAbsent { dependency: dependency() }),
        ("NothingLeft", Reason::NothingLeft),
        ("Unreferenced", Reason::Unreferenced),
        ("StoppedBefore", Reason::StoppedBefore),
        ("NeverMade", Reason::NeverMade),
        ("ContainerGone", Reason::ContainerGone),
    ]
}

/// The variants of `pub enum NAME` in a text.
fn variants(text: &str, name: &str) -> Vec<String> {
    let tokens = tokens(text);
    let Some(start) = tokens.windows(2).position(|w| w[0].text == "enum" && w[1].text == name) else {
        return Vec::new();
    };
    let (mut depth, mut expects, mut variants) = (0, true, Vec::new());
    for token in &tokens[start + 2..] {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" if depth == 1 => break,
            "}" | ")" | "]" => depth -= 1,
            "," if depth == 1 => expects = true,
            word if depth == 1 && expects && word.starts_with(char::is_uppercase) => {
                variants.push(word.to_owned());
                expects = false;
            }
            _ => {}
        }
    }
    variants
}

/// Does a line tell this, with anything where the blanks are?
fn tells(line: &str, told: &str) -> bool {
    let wanted: Vec<&str> = told.split_whitespace().collect();
    let is_blank = |word: &str| word.contains(&BLANK.to_string()) || word.contains(BLANK_HEX);
    // A change's own words may have a colon too.
    line.match_indices(": ").any(|(at, _)| {
        let said: Vec<&str> = line[at + 2..].split_whitespace().collect();
        said.len() == wanted.len() && wanted.iter().zip(&said).all(|(w, s)| w == s || is_blank(w))
    })
}

/// Reasons that no line tells and the list does not excuse, and excuses that are none.
fn untold(reasons: &[(&str, String)], lines: &[&str], excused: &[(&str, &str)]) -> Vec<String> {
    let is_told = |told: &str| lines.iter().any(|line| tells(line, told));
    let mut broken = Vec::new();
    for (name, told) in reasons {
        let excuse = excused.iter().any(|(n, _)| n == name);
        match (is_told(told), excuse) {
            (false, false) => broken.push(format!(
                "Reason::{name} (\"{told}\") is in no transcript: let a script of tests/scenarios meet it, or excuse it in UNTOLD"
            )),
            (true, true) => broken.push(format!("Reason::{name} is excused in UNTOLD and yet told: delete the excuse")),
            _ => {}
        }
    }
    broken
}

#[test]
fn every_reason_is_told_in_a_transcript() {
    let sources = files("reason.rs");
    let source =
        sources.iter().find(|f| f.path == "orchestrator/src/engine/reason.rs").expect("the file of the reasons");
    let reasons = reasons();
    let named: Vec<&str> = reasons.iter().map(|(name, _)| *name).collect();
    assert_eq!(variants(&source.text, "Reason"), named, "add the new reason to `reasons()` of this test");
    let transcripts = files(".expected");
    let lines: Vec<&str> = transcripts.iter().flat_map(|f| f.text.lines()).collect();
    let told: Vec<(&str, String)> = reasons.iter().map(|(name, reason)| (*name, reason.to_string())).collect();
    assert_none(&untold(&told, &lines, UNTOLD));
}

/// Manifests of `examples/` whose path no test names.
fn unnamed(manifests: &[File], tests: &[File]) -> Vec<String> {
    let is_named = |path: &str| tests.iter().any(|t| t.text.contains(path));
    let unnamed = manifests.iter().filter(|m| !is_named(&m.path));
    unnamed.map(|m| format!("{}: no test names it: add it to tests/tests/manifests.rs at least", m.path)).collect()
}

#[test]
fn every_example_is_named_by_a_test() {
    let manifests: Vec<File> = files("compose.yaml").into_iter().filter(|f| f.path.starts_with("examples/")).collect();
    assert!(manifests.len() >= 3, "only {} examples were found", manifests.len());
    let tests: Vec<File> = files(".rs").into_iter().filter(|f| is_test(&f.path)).collect();
    assert_none(&unnamed(&manifests, &tests));
}

/// Commands of ctl, by the names of their help's transcripts, that a paper does not mention.
fn unmentioned(transcripts: &[File], paper: &str) -> Vec<String> {
    // A transcript's name does not tell a blank from a hyphen of the command itself.
    let paper = paper.replace('-', " ");
    let names = transcripts.iter().filter_map(|f| f.path.rsplit('/').next()?.strip_suffix(".txt"));
    let commands = names.filter(|n| *n != "ctl").map(|n| format!("ctl {}", n.replace('-', " ")));
    let missing = commands.filter(|command| !paper.contains(command.as_str()));
    missing.map(|command| format!("`{command}` is not in docs/cli.md: add its row")).collect()
}

#[test]
fn every_command_is_in_the_papers() {
    let transcripts: Vec<File> =
        files(".txt").into_iter().filter(|f| f.path.starts_with("cli/transcripts/help/")).collect();
    assert!(transcripts.len() > 10, "only {} transcripts were found", transcripts.len());
    let paper = std::fs::read_to_string(root().join("docs/cli.md")).expect("docs/cli.md is there");
    assert_none(&unmentioned(&transcripts, &paper));
}

// === The rules, each broken once ===

#[test]
fn an_untold_reason_is_noticed() {
    let text = "/// A.\npub enum Reason {\n  /// B.\n  One,\n  #[serde(rename = \"x\")]\n  Two { by: TaskId, of: Vec<Id> },\n  Three(Node),\n}\nenum Other { Four }";
    assert_eq!(variants(text, "Reason"), ["One", "Two", "Three"]);
    let reasons = [("One", "the slot has no task".to_owned()), ("Two", "scaled down to 7829367".to_owned())];
    assert_eq!(BLANK, 7_829_367);
    let lines = ["stop t1: scaled down to 3", "create a on n: the slot has no task"];
    assert_eq!(untold(&reasons, &lines, &[]), [""; 0]);
    assert_eq!(untold(&reasons, &lines[..1], &[]).len(), 1);
    assert_eq!(untold(&reasons, &lines[..1], &[("One", "because")]), [""; 0]);
    assert_eq!(untold(&reasons, &lines, &[("One", "because")]).len(), 1);
    assert_eq!(untold(&reasons, &["stop t1: scaled up to 3"], &[]).len(), 2);
}

#[test]
fn an_unnamed_example_is_noticed() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let manifests = [file("examples/a/compose.yaml", ""), file("examples/b/compose.yaml", "")];
    let tests = [file("tests/tests/x.rs", "\"examples/a/compose.yaml\"")];
    let broken = unnamed(&manifests, &tests);
    assert!(broken.len() == 1 && broken[0].starts_with("examples/b/compose.yaml: "), "{broken:?}");
}

#[test]
fn a_command_without_a_row_is_noticed() {
    let file = |path: &str| File { path: path.to_owned(), text: String::new() };
    let transcripts = [file("cli/transcripts/help/ctl.txt"), file("a/dev-down.txt"), file("a/apply.txt")];
    assert_eq!(unmentioned(&transcripts, "`ctl apply` and `ctl dev down`"), [""; 0]);
    assert_eq!(unmentioned(&transcripts, "`ctl apply`").len(), 1);
}
