//! The configuration: whatever stands in `ward.toml`, every complaint says what is wrong and the way out
//! in one line that exists.
//!
//! Input: the text of a `ward.toml`.

use ward::config::Config;

/// See the module.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let problems = match Config::parse(text) {
        Ok(config) => {
            assert!(config.needs_restart(&config).is_empty(), "it differs from itself");
            config.problems()
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused for nothing");
            problems
        }
    };
    let lines = text.split('\n').count();
    for problem in &problems {
        assert!(!problem.what.is_empty() && !problem.way.is_empty(), "{problem:?}");
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem:?}");
        assert!(!problem.to_string().contains('\n'), "{problem:?}");
    }
    problems.is_empty()
}
