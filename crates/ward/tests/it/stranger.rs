//! The stranger's path: docs/first-guard.md from an empty folder to a guarded server, with printed commands only.

use crate::docs::follow;

/// Ends with a read that is answered, one that is refused, the report and a log that verifies; and no command
/// was needed that a reader of the page does not see.
#[test]
fn from_an_empty_folder_to_a_guarded_server_with_only_printed_commands() {
    let ran = follow("docs/first-guard.md");
    assert_eq!(ran.hidden, 0, "commands that the page does not show");
    assert!(ran.skipped.is_empty(), "{:?}", ran.skipped);
    let done: String = ran.transcript.iter().map(|(command, _)| command.as_str()).collect();
    let of = |command: &str| -> Vec<&str> {
        let fits = |(asked, _): &&(String, String)| asked.contains(command);
        ran.transcript.iter().filter(fits).map(|(_, said)| said.as_str()).collect()
    };
    // What `ward init` prints as next steps is what the page goes on with.
    let printed = of("ward init")[0];
    for (next, _) in printed.match_indices("ward check").chain(printed.match_indices("ward serve"))
    {
        let line = printed[next..].lines().next().unwrap();
        assert!(done.contains(line), "printed by `ward init`, but not done: {line}");
    }
    let reads = of("ward client get");
    assert!(reads.iter().any(|said| said.contains("status         200")), "{reads:?}");
    let refused = of("/Patient/pt-00005");
    assert!(refused.last().unwrap().contains("status         404"), "{refused:?}");
    assert!(of("would-refuse")[0].contains("ROSTER"));
    assert!(of("ward log verify").last().unwrap().contains("verified:"));
}
