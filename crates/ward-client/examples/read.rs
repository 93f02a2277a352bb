//! Registers at a server, gets a token for treatment, and reads:
//!
//! ```text
//! cargo run -p ward-client --example read -- BASE COMMUNITY FOLDER ORGANIZATION /Patient/123
//! ```
//!
//! FOLDER has `root.pem` (the community's root), `tls.pem` (whom to believe for TLS), `certificate.pem` and `key.pem`
//! (the application's own). ORGANIZATION is the URI of the organisation that asks. What this machine's network calls
//! private is called too.
#![expect(clippy::print_stdout, clippy::disallowed_macros, reason = "an example prints")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ward_client::{
    Egress, Limits, OrganizationUri, Purpose, RegistrationRequest, Secret, Setup, on_behalf_of,
};

const SCOPE: &str = "system/Patient.rs";

/// What it was called with, in that order; the answer's status and body.
pub(crate) async fn run(arguments: &[String]) -> Result<(u16, String), Box<dyn Error>> {
    let [base, community, folder, organization, path] = arguments else {
        return Err("usage: read BASE COMMUNITY FOLDER ORGANIZATION PATH".into());
    };
    let file = |name: &str| fs::read(Path::new(folder).join(name));
    let setup = Setup {
        community,
        anchors: &file("root.pem")?,
        tls_roots: &file("tls.pem")?,
        egress: &Egress::anywhere(),
        limits: &patient(),
    };
    let client = setup.client(&file("certificate.pem")?, &Secret::new(file("key.pem")?))?;

    let server = client.discover(base).await?;
    let uri = client.uri().ok_or("the certificate names no URI")?;
    let request = RegistrationRequest::client_credentials(
        uri,
        "The example of ward-client",
        "mailto:ops@partner.example",
        SCOPE,
    );
    let registered = client.register(&server, &request).await?;
    let treatment = on_behalf_of(OrganizationUri::parse(organization)?, Purpose::Treatment);
    let token = client.token(&server, &registered, SCOPE, &treatment).await?;
    let answer = client.get(base, path, &token).await?;
    Ok((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).into_owned()))
}

/// Somebody waits for the answer: a minute is not too long.
fn patient() -> Limits {
    let minute = Duration::from_mins(1);
    Limits { upstream_timeout: minute, crl_timeout: minute, ..Limits::default() }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (status, body) = run(&arguments).await?;
    println!("{status}\n{body}");
    Ok(())
}
