//! `just bench`: one harness, one run, the same upstream and machine for Ward and for nginx.
//!
//! Each server is a process of its own, so that its CPU and memory are its own: the upstream (`upstream`),
//! Ward with full enforcement and durable log (`ward`), nginx as a plain TLS reverse proxy. This process
//! plays the community, the partner and the load. What was measured and how is in `BENCHMARKS.md`.

mod child;
mod load;
mod nginx;
mod procfs;
mod report;
mod run;
mod signatures;
mod soak;
mod surroundings;
mod trust;
mod upstream;
mod ward_child;

use std::process::ExitCode;
use std::time::Instant;

/// Whatever went wrong; it ends the run.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The moment, for measuring only.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures real time; nothing is decided by it"
)]
pub fn moment() -> Instant {
    Instant::now()
}

/// Says something to whoever runs this.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.map_err(Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match words.as_slice() {
                ["upstream"] => upstream::serve(0).await,
                ["upstream", port] => upstream::serve(port.parse()?).await,
                ["ward", spec] => ward_child::serve(spec).await,
                ["soak", rest @ ..] => soak::run(rest).await,
                ["hold", rest @ ..] => run::hold(rest).await,
                ["trust", rest @ ..] => trust::run(rest).await,
                rest => run::all(rest).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the bench failed: {error}"));
            ExitCode::FAILURE
        }
    }
}
