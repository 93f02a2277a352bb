//! Judges a server's signed metadata, without a certificate of one's own:
//!
//! ```text
//! cargo run -p ward-client --example discover -- BASE COMMUNITY ROOT.pem TLS.pem
//! ```
//!
//! BASE is the FHIR base URL exactly as the server names it, COMMUNITY the URI of the trust community, ROOT.pem its
//! root, TLS.pem whom to believe for TLS. What this machine's network calls private is called too.
#![expect(clippy::print_stdout, clippy::disallowed_macros, reason = "an example prints")]

use std::error::Error;
use std::fs;
use std::time::Duration;

use ward_client::{Egress, Limits, Setup};

/// What it was called with, in that order.
pub(crate) async fn run(arguments: &[String]) -> Result<String, Box<dyn Error>> {
    let [base, community, root, tls] = arguments else {
        return Err("usage: discover BASE COMMUNITY ROOT.pem TLS.pem".into());
    };
    let setup = Setup {
        community,
        anchors: &fs::read(root)?,
        tls_roots: &fs::read(tls)?,
        egress: &Egress::anywhere(),
        limits: &patient(),
    };
    let server = setup.discovery()?.discover(base).await?;
    Ok(format!(
        "{}\n  registration {}\n  tokens       {}\n  scopes       {}\n  in force until {}",
        server.base_url,
        server.registration_endpoint,
        server.token_endpoint,
        server.scopes.join(" "),
        server.exp.to_rfc3339(),
    ))
}

/// Somebody waits for the answer: a minute is not too long.
fn patient() -> Limits {
    let minute = Duration::from_mins(1);
    Limits { upstream_timeout: minute, crl_timeout: minute, ..Limits::default() }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    println!("{}", run(&arguments).await?);
    Ok(())
}
