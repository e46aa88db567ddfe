//! What the program says of itself: versions, completions.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn corten(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_corten")).args(arguments).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn versions_are_told_for_people_and_for_programs() {
    let told: serde_json::Value = serde_json::from_str(&corten(&["version", "--json"])).unwrap();
    assert_eq!((&told["version"], &told["cri"]), (&env!("CARGO_PKG_VERSION").into(), &"v1".into()));
    let text = corten(&["version"]);
    for name in ["version", "commit", "profile", "cri", "wire"] {
        let value = told[name].as_str().unwrap();
        assert!(!value.is_empty() && text.contains(&format!("{name:<8} {value}\n")), "{name}: {text}");
    }
}

#[test]
fn shells_take_the_completions_and_find_every_command_in_them() {
    for shell in ["bash", "fish", "zsh"] {
        let text = corten(&["completion", shell]);
        for word in ["pods", "events", "completion", "no-builtin-network", "--tail"] {
            let word = if shell == "fish" { word.trim_start_matches("--") } else { word };
            assert!(text.contains(word), "{shell}: no {word}");
        }
    }
    // What bash makes of a word that has begun.
    let script = "source <(\"$0\" completion bash); COMP_WORDS=(corten exe) COMP_CWORD=1; _corten corten exe corten; \
                  echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_corten")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "exec\n", "{output:?}");
}
