//! Images built by the engine.

use crate::lab::{DOCKERFILE, Lab, build, context, docker, images};
use agent::runtime::ContainerRuntime;
use agent::runtime::build::{BuildError, BuildLine, BuildRequest, Dockerfile, build_image};
use std::collections::BTreeMap;

#[tokio::test]
async fn what_is_built_is_what_was_sent() {
    let lab = Lab::new().await;
    let context = context("");
    for (name, text) in [("app/keep", "kept"), ("app/drop.log", ""), (".dockerignore", "**/*.log\n")] {
        let path = context.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::os::unix::fs::symlink("keep", context.path().join("app/link")).unwrap();
    let recipe = format!("{DOCKERFILE}ARG WORD=none\nCOPY . /sent\nRUN [\"sh\", \"-c\", \"echo $WORD > /word\"]\n");
    let request = BuildRequest {
        context: context.path().to_owned(),
        dockerfile: Dockerfile::Inline(recipe),
        tag: lab.image.clone(),
        args: BTreeMap::from([("WORD".to_owned(), "hello".to_owned())]),
        target: None,
        no_cache: true,
        labels: BTreeMap::from([("made-by".to_owned(), "test".to_owned())]),
    };
    let mut lines = Vec::new();
    let alone = images();
    let id = build_image(&lab.runtime, request, |line| lines.push(line)).await.unwrap();
    drop(alone);
    assert_eq!(lab.runtime.image(&lab.image).await.unwrap().unwrap().id, id);
    assert!(matches!(&lines[0], BuildLine::Step { number: 1, total: 9.., .. }), "{lines:?}");
    assert_eq!(docker(&["inspect", "-f", r#"{{index .Config.Labels "made-by"}}"#, &id]), "test");

    let container = lab.run(&lab.request(1, &["sleep", "1000"])).await;
    let found =
        lab.exec(&container, "cd /sent && find . -type f -o -type l | sort; readlink app/link; cat /word").await;
    let expect = "./.dockerignore\n./Dockerfile\n./app/keep\n./app/link\n./busybox\nkeep\nhello\n";
    assert_eq!(found, (0, expect.to_owned()), "neither the logs nor our recipe");
}

#[tokio::test]
async fn a_failed_step_shows_its_last_words() {
    let lab = Lab::new().await;
    let script = r#"RUN ["sh", "-c", "echo first; echo last words >&2; exit 3"]"#;
    let context = context(&format!("{DOCKERFILE}{script}\n"));
    let error = build(&lab.runtime, context.path(), &lab.image).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, BuildError::Failed { .. }), "{text}");
    for part in [lab.image.as_str(), "3", "| first", "| last words", "at Step 7/7"] {
        assert!(text.contains(part), "`{part}` in {text}");
    }
}

#[tokio::test]
async fn recipes_that_cannot_be_followed() {
    let lab = Lab::new().await;
    let context = context("FROM scratch\nNONSENSE x\n");
    let error = build(&lab.runtime, context.path(), &lab.image).await.unwrap_err().to_string();
    assert!(error.to_lowercase().contains("nonsense"), "{error}");
    std::fs::remove_file(context.path().join("Dockerfile")).unwrap();
    let error = build(&lab.runtime, context.path(), &lab.image).await.unwrap_err();
    assert!(matches!(error, BuildError::NoDockerfile { .. }), "{error}");
}
