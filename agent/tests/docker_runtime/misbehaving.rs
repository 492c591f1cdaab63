//! Engines that are away, hang, or talk nonsense: nothing may look gone.

use crate::strange_engine::{Answer, StrangeEngine};
use agent::runtime::docker::{Deadlines, DockerRuntime};
use agent::runtime::{ContainerRuntime, Identity, RuntimeError, SeenState};
use futures_util::StreamExt;
use proto::id::{ClusterId, NodeId, TaskId};
use proto::revision::Epoch;
use std::time::Duration;
use tokio::time::timeout;

/// Far beyond any deadline used here.
const PATIENCE: Duration = Duration::from_secs(60);

fn identity() -> Identity {
    Identity { cluster: ClusterId(1), epoch: Epoch(1), node: NodeId(1) }
}

fn quick(engine: &StrangeEngine) -> DockerRuntime {
    let short = Duration::from_millis(300);
    let deadlines = Deadlines {
        look: short * 2,
        look_within_list: short,
        make: short,
        stop_beyond_grace: short,
        remove: short,
        pull_silence: short,
        build_silence: short,
    };
    DockerRuntime::with_deadlines(&engine.endpoint(), deadlines)
}

/// What came of each call, by name.
async fn outcomes(runtime: &DockerRuntime) -> Vec<(&'static str, Option<RuntimeError>)> {
    let id = "c1";
    let all = async {
        vec![
            ("info", runtime.info().await.err()),
            ("image", runtime.image("a").await.err()),
            ("pull", runtime.pull("a", None).await.err()),
            ("start", runtime.start(id).await.err()),
            ("stop", runtime.stop(id, 50).await.err()),
            ("remove", runtime.remove(id).await.err()),
            ("list", runtime.list(&identity()).await.err()),
            ("inspect", runtime.inspect(id).await.err()),
            ("events", runtime.events(&identity()).await.err()),
            ("exec", runtime.exec(id, &["true".to_owned()], 50).await.err()),
            ("logs", runtime.logs(id, &Default::default()).await.err()),
            ("remove_volume", runtime.remove_volume("v").await.err()),
            ("remove_network", runtime.remove_network(&identity()).await.err()),
        ]
    };
    timeout(PATIENCE, all).await.expect("every call ends by itself")
}

#[tokio::test]
async fn an_engine_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let nothing = dir.path().join("none.sock");
    let refused = dir.path().join("refused.sock");
    drop(std::os::unix::net::UnixListener::bind(&refused).unwrap());
    for endpoint in [nothing, refused].map(|path| format!("unix://{}", path.display())) {
        for (name, error) in outcomes(&DockerRuntime::new(&endpoint)).await {
            let error = error.unwrap_or_else(|| panic!("{name} must fail"));
            assert!(matches!(error, RuntimeError::Unreachable { .. }), "{name}: {error}");
            assert!(error.to_string().contains(&endpoint), "{error}");
        }
    }
}

#[tokio::test]
async fn an_engine_that_comes_back() {
    let engine = StrangeEngine::start(|_| Answer::Whole(200, "[]"));
    let runtime = quick(&engine);
    assert_eq!(runtime.list(&identity()).await.unwrap(), []);
    let away = engine.socket.with_extension("away");
    std::fs::rename(&engine.socket, &away).unwrap();
    let error = runtime.list(&identity()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Unreachable { .. }), "{error}");
    std::fs::rename(&away, &engine.socket).unwrap();
    assert_eq!(runtime.list(&identity()).await.unwrap(), []);
}

#[tokio::test]
async fn an_engine_that_stalls_is_given_up() {
    // For these the status is the whole answer.
    let status_is_enough = ["start", "remove", "remove_volume", "remove_network"];
    let stalling = StrangeEngine::start(|_| Answer::Stalls("{"));
    for (name, error) in outcomes(&quick(&stalling)).await {
        match error {
            Some(RuntimeError::Deadline { .. }) => {}
            Some(RuntimeError::Pull { .. }) if name == "pull" => {}
            None if status_is_enough.contains(&name) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let silent = StrangeEngine::start(|_| Answer::Silent);
    for (name, error) in outcomes(&quick(&silent)).await {
        let given_up = match name {
            "pull" => matches!(error, Some(RuntimeError::Deadline { .. } | RuntimeError::Pull { .. })),
            _ => matches!(error, Some(RuntimeError::Deadline { .. })),
        };
        assert!(given_up, "{name}: {error:?}");
    }
}

#[tokio::test]
async fn nonsense_is_not_absence() {
    for noise in ["{\"Id\": ", "\u{1}\u{2}garbage", "<html>"] {
        let answer: fn(&str) -> Answer = match noise {
            "<html>" => |_| Answer::Whole(200, "<html>"),
            "{\"Id\": " => |_| Answer::Whole(200, "{\"Id\": "),
            _ => |_| Answer::Noise("\u{1}\u{2}garbage\r\n\r\n"),
        };
        let engine = StrangeEngine::start(answer);
        let runtime = quick(&engine);
        for (name, error) in [
            ("list", runtime.list(&identity()).await.unwrap_err()),
            ("inspect", runtime.inspect("c1").await.unwrap_err()),
            ("image", runtime.image("a").await.unwrap_err()),
            ("info", runtime.info().await.unwrap_err()),
        ] {
            assert!(matches!(error, RuntimeError::Nonsense { .. }), "{name} of {noise:?}: {error}");
        }
        runtime.stop("c1", 10).await.expect_err("a stop whose answer is nonsense is not done");
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_not_an_answer() {
    let engine = StrangeEngine::start(|_| Answer::CutShort("["));
    for (name, error) in [
        ("list", quick(&engine).list(&identity()).await.unwrap_err()),
        ("inspect", quick(&engine).inspect("c1").await.unwrap_err()),
    ] {
        let unknown = matches!(error, RuntimeError::Unreachable { .. } | RuntimeError::Nonsense { .. });
        assert!(unknown, "{name}: {error}");
    }
}

const LIST: &str = r#"[
    {"Id":"c1","Names":["/a"],"State":"running","Labels":{"wherry.labels":"1","wherry.task":"t1","wherry.project":"p",
     "wherry.service":"s","wherry.slot":"1","wherry.generation":"1","wherry.spec-hash":"h"}},
    {"Id":"c2","Names":["/b"],"State":"napping","Labels":{"wherry.labels":"1","wherry.task":"t2","wherry.project":"p",
     "wherry.service":"s","wherry.slot":"2","wherry.generation":"1","wherry.spec-hash":"h"}},
    {"Id":"c3","Names":["/c"],"State":"running","Labels":{"wherry.labels":"1","wherry.task":"t3","wherry.project":"p",
     "wherry.service":"s","wherry.slot":"3","wherry.generation":"1","wherry.spec-hash":"h"}},
    {"Id":"c4","Names":["/d"],"State":"running","Labels":{"wherry.labels":"1","wherry.task":"t4","wherry.project":"p",
     "wherry.service":"s","wherry.slot":"4","wherry.generation":"1","wherry.spec-hash":"h"}},
    {"Id":"c5","Names":["/e"],"State":"running","Labels":{"wherry.task":"not a task"}},
    {"Id":"c6","Names":["/f"],"State":"running","Labels":{"wherry.labels":"1","wherry.task":"t6","wherry.project":"p",
     "wherry.service":"s","wherry.slot":"6","wherry.generation":"1","wherry.spec-hash":"h"}}
]"#;

/// One of each: fine, in a new state, vanished, stuck, a stranger, and refused.
fn mixed(path: &str) -> Answer {
    let running = r#"{"Id":"c1","Name":"/a","State":{"Status":"running","Pid":5,"StartedAt":"2024-05-01T10:11:12Z"}}"#;
    match path {
        "/containers/c1/json" => Answer::Whole(200, running),
        "/containers/c2/json" => Answer::Whole(200, r#"{"Id":"c2","Name":"/b","State":{"Status":"napping"}}"#),
        "/containers/c3/json" => Answer::Whole(404, r#"{"message":"No such container: c3"}"#),
        "/containers/c4/json" => Answer::Stalls("{"),
        "/containers/c6/json" => Answer::Whole(500, r#"{"message":"cannot read its layer"}"#),
        _ => Answer::Whole(200, LIST),
    }
}

#[tokio::test]
async fn one_strange_container_does_not_hide_the_others() {
    let engine = StrangeEngine::start(mixed);
    let seen = timeout(PATIENCE, quick(&engine).list(&identity())).await.expect("it ends").unwrap();
    let tasks: Vec<TaskId> = seen.iter().map(|c| c.task).collect();
    assert_eq!(tasks, [1, 2, 4, 6].map(TaskId), "only the vanished one and the stranger are left out");
    assert!(matches!(seen[0].state, SeenState::Running { pid: 5, .. }), "{:?}", seen[0]);
    assert_eq!(seen[1].state, SeenState::Other("napping".to_owned()));
    for (unknown, part) in [(&seen[2], "did not finish"), (&seen[3], "cannot read its layer")] {
        assert!(matches!(&unknown.state, SeenState::Other(why) if why.contains(part)), "{unknown:?}");
    }
}

#[tokio::test]
async fn labels_of_a_newer_agent_are_not_overlooked() {
    let engine = StrangeEngine::start(|_| {
        Answer::Whole(200, r#"[{"Id":"c1","Names":["/a"],"Labels":{"wherry.labels":"2","wherry.task":"?"}}]"#)
    });
    let error = quick(&engine).list(&identity()).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Nonsense { .. }), "{error}");
}

#[tokio::test]
async fn hints_end_with_the_engine() {
    let engine = StrangeEngine::start(|path| match path {
        "/_ping" => Answer::Whole(200, "OK"),
        _ => Answer::Whole(
            200,
            r#"{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{"wherry.task":"t1"}}}"#,
        ),
    });
    let hints = quick(&engine).events(&identity()).await.unwrap();
    let hints: Vec<_> = timeout(PATIENCE, hints.collect::<Vec<_>>()).await.expect("the stream ends");
    assert_eq!(hints.len(), 1, "{hints:?}");
    assert_eq!(hints[0].as_ref().unwrap().action, "die");
}
