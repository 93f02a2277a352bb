//! `ward demo trust` as a stranger runs it: it ends 0 when every step holds, and notices what is set up wrongly.

use std::process::{Command, Output};

use serde_json::Value;

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ward"));
    command.args(["demo", "trust", "--exit"]).args(args).output().unwrap()
}

/// Its steps, as a script reads them.
fn steps(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of the steps that did not hold.
fn failed(output: &Output) -> Vec<String> {
    let bad = steps(output).into_iter().filter(|step| step["ok"] != true);
    bad.map(|step| step["step"].as_str().unwrap().to_owned()).collect()
}

/// PORT-01.
#[test]
fn every_step_holds() {
    let output = demo(&["--json"]);
    let steps = steps(&output);
    assert_eq!(output.status.code(), Some(0), "{steps:#?}");
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    let all = [
        "hospital",
        "clinic",
        "abroad",
        "stranger",
        "passport",
        "what-if",
        "certified",
        "withdrawn",
        "revocation",
        "others",
    ];
    assert_eq!(names, all);
    for entered in &steps[..3] {
        assert_eq!(entered["facts"]["human_acts"], 0);
    }
    assert!(steps[6]["facts"]["opened_millis"].is_u64());
    for closed in &steps[7..9] {
        assert!(closed["facts"]["closed_millis"].is_u64());
    }
}

#[test]
fn a_wrong_set_up_is_noticed() {
    for (sabotage, step) in
        [("clinic", "stranger"), ("certification", "withdrawn"), ("revocation", "revocation")]
    {
        let output = demo(&["--json", "--sabotage", sabotage]);
        assert_eq!(failed(&output), [step], "{sabotage}");
        assert_eq!(output.status.code(), Some(1), "{sabotage}");
    }
}
