//! `ward init`: a commented `ward.toml` and keys for a real deployment, asking little.
//!
//! Makes: the key file of the vault (unless a passphrase file is named), a private key with the request
//! that a trust community turns into this server's certificate, and, only if asked, a self-signed TLS
//! certificate. Refused: to overwrite anything. Nothing is left behind by a refused run.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;
use ward_core::{Clock, CommunityUri, Rng, Secret};

use crate::cli_serve::Init;
use crate::config::spec::{Kind, Need, ROOT};
use crate::config::{Config, Problem};
use crate::house::system;
use crate::private;
use crate::ui::Ui;

/// Life of the self-signed TLS certificate.
const TLS_LIFE: Duration = Duration::from_hours(90 * 24);
const BACKDATE: Duration = Duration::from_mins(5);

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    /// An answer is missing, and there is no terminal to ask on.
    #[error("--{0} is missing; give it, or run `ward init` on a terminal, where it is asked for")]
    Missing(&'static str),
    /// An answer makes no sense.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Answer(Vec<Problem>),
    /// A file is there already.
    #[error("{} exists already, and nothing is overwritten; choose another directory, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A key or request could not be made.
    #[error("keys: {0}")]
    Keys(#[from] rcgen::Error),
}

/// What will be written.
struct Plan {
    files: Vec<(PathBuf, Secret<Vec<u8>>)>,
}

/// What was asked for.
struct Answers {
    origin: String,
    upstream: String,
    community: String,
    listen: SocketAddr,
    private_upstream: bool,
    passphrase_file: Option<PathBuf>,
}

pub(crate) fn run(ui: Ui, options: &Init) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let system = system();
    let answers = answers(ui, options)?;
    let dir = &options.dir;
    let text = configuration(&answers);
    let base = format!("{}/default/fhir", answers.origin);
    // What is written is read first, by the same reader: no start with a file that does not load.
    match Config::parse(&text).map(|config| config.problems()) {
        Ok(problems) if problems.is_empty() => {}
        Ok(problems) | Err(problems) => return Err(InitError::Answer(problems).into()),
    }
    let host = host(&answers.origin);

    let mut plan = Plan { files: vec![] };
    let mut add =
        |name: &str, bytes: Vec<u8>| plan.files.push((dir.join(name), Secret::new(bytes)));
    add("ward.toml", text.into_bytes());
    if answers.passphrase_file.is_none() {
        let mut key = vec![0; 32];
        system.rng.fill(&mut key);
        add("vault.key", key);
    }
    let (key, request) = request(&base, &host)?;
    add("community/key.pem", key);
    add("community/request.pem", request);
    if options.self_signed_tls {
        let (certificate, key) = self_signed(&host, &*system.clock, &*system.rng)?;
        add("tls/certificate.pem", certificate);
        add("tls/key.pem", key);
    }
    write(dir, &plan)?;
    next_steps(ui, options, &answers, &base);
    Ok(ExitCode::SUCCESS)
}

/// The flags; what is missing is asked for on a terminal.
fn answers(ui: Ui, options: &Init) -> Result<Answers, InitError> {
    let ask = |given: &Option<String>, flag: &'static str, question: &str| match given {
        Some(given) => Ok(given.trim().to_owned()),
        None => ui.ask(question).filter(|text| !text.is_empty()).ok_or(InitError::Missing(flag)),
    };
    let origin = ask(
        &options.origin,
        "origin",
        "Public origin under which partners reach this Ward (https://host):",
    )?;
    let origin = origin.trim_end_matches('/').to_owned();
    let upstream = ask(
        &options.upstream,
        "upstream",
        "FHIR base of the server behind it (http://10.0.0.7:8080/fhir):",
    )?;
    let upstream = upstream.trim_end_matches('/').to_owned();
    let community = ask(
        &options.community,
        "community",
        "URI of the trust community whose members may register:",
    )?;
    let port = origin.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443);
    let listen = options.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], port)));
    let private_upstream = is_private(&upstream);
    let passphrase_file = match &options.passphrase_file {
        Some(path) => Some(
            fs::canonicalize(path)
                .map_err(|source| InitError::File { path: path.clone(), source })?,
        ),
        None => None,
    };
    if CommunityUri::parse(&community).is_err() {
        let problem = Problem::new(
            None,
            "--community",
            format!("is \"{community}\", which is no URI"),
            "write it exactly as the community does, as \"urn:oid:2.16…\" or \"https://…\"",
        );
        return Err(InitError::Answer(vec![problem]));
    }
    Ok(Answers { origin, upstream, community, listen, private_upstream, passphrase_file })
}

/// Whether a URL names loopback or a private address by its letters; names are not looked up.
fn is_private(url: &str) -> bool {
    let host = host(url);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse() {
        Ok(address) => !ward_net::client::is_public(address),
        // A name without a dot is one of the machine's or the container network's own.
        Err(_) => !host.contains('.'),
    }
}

fn host(url: &str) -> String {
    url.parse::<http::Uri>()
        .ok()
        .and_then(|uri| uri.host().map(ToOwned::to_owned))
        .unwrap_or_default()
}

/// TOML text of a string.
fn quote(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}

/// The commented file. Every key that is not written out stands in it as a comment, with its default.
fn configuration(answers: &Answers) -> String {
    let keys = match &answers.passphrase_file {
        Some(path) => ("keys.passphrase_file", quote(&path.display().to_string())),
        None => ("keys.key_file", quote("vault.key")),
    };
    let set = [
        ("mode", quote("observe")),
        ("data", quote("data")),
        ("listen.address", quote(&answers.listen.to_string())),
        ("listen.origin", quote(&answers.origin)),
        ("listen.certificate", quote("tls/certificate.pem")),
        ("listen.key", quote("tls/key.pem")),
        ("upstream.base", quote(&answers.upstream)),
        ("upstream.allow_private", answers.private_upstream.to_string()),
        ("community.uri", quote(&answers.community)),
        ("community.anchors", quote("community/anchors.pem")),
        ("community.certificate", quote("community/certificate.pem")),
        ("community.key", quote("community/key.pem")),
        (
            "scopes.supported",
            "[\n    \"system/AllergyIntolerance.rs\", \"system/Condition.rs\", \"system/Encounter.rs\",\n    \
             \"system/Immunization.rs\", \"system/MedicationRequest.rs\", \"system/Observation.rs\",\n    \
             \"system/Organization.rs\", \"system/Patient.rs\", \"system/Practitioner.rs\",\n    \
             \"system/PractitionerRole.rs\", \"system/Procedure.rs\",\n]"
                .to_owned(),
        ),
        keys,
    ];
    let value = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value);
    let mut out =
        format!("# {}\n# `ward check --config FILE` says whether it will work.\n", ROOT.doc);
    for field in ROOT.fields {
        let (Kind::Table(section) | Kind::Tables(section)) = field.kind else {
            comment(&mut out, "\n", field.doc);
            let text = value(field.name).map_or("", String::as_str);
            let _ = writeln!(out, "{} = {text}", field.name);
            continue;
        };
        let header = match field.kind {
            Kind::Tables(_) => format!("[[{}]]", field.name),
            _ => format!("[{}]", field.name),
        };
        comment(&mut out, "\n", section.doc);
        let _ = writeln!(out, "{header}");
        for inner in section.fields {
            comment(&mut out, "", inner.doc);
            match (value(&format!("{}.{}", field.name, inner.name)), inner.need) {
                (Some(value), _) => {
                    let _ = writeln!(out, "{} = {value}", inner.name);
                }
                (None, Need::Default(default)) => {
                    let _ = writeln!(out, "#{} = {default}", inner.name);
                }
                (None, _) => {
                    let _ = writeln!(out, "#{} =", inner.name);
                }
            }
        }
    }
    out
}

/// Comment lines that are short enough to read.
fn comment(out: &mut String, before: &str, text: &str) {
    out.push_str(before);
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + word.len() > 94 {
            let _ = writeln!(out, "#{line}");
            line.clear();
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "#{line}");
}

fn named(host: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, host);
    params
}

/// A private key (RSA, since signed metadata is RS256) and the request for its certificate.
fn request(base: &str, host: &str) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256)?;
    let mut params = named(host);
    params.subject_alt_names = vec![SanType::URI(base.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key.serialize_pem().into_bytes(), request.into_bytes()))
}

/// A TLS certificate that signs itself, and its key.
fn self_signed(
    host: &str,
    clock: &dyn Clock,
    rng: &dyn Rng,
) -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = named(host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    params.subject_alt_names = vec![match bare.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into()?),
    }];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.serial_number = Some(SerialNumber::from(rng.next_u64() >> 1));
    let at = |time: ward_core::Timestamp| {
        OffsetDateTime::from_unix_timestamp(time.as_seconds()).map_err(|_| rcgen::Error::Time)
    };
    params.not_before = at(clock.now().minus(BACKDATE))?;
    params.not_after = at(clock.now().plus(TLS_LIFE))?;
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate.into_bytes(), key.serialize_pem().into_bytes()))
}

/// Writes all files or none.
fn write(dir: &Path, plan: &Plan) -> Result<(), InitError> {
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| InitError::File { path, source }
    };
    for (path, _) in &plan.files {
        if path.symlink_metadata().is_ok() {
            return Err(InitError::Exists(path.clone()));
        }
    }
    private::directory(dir).map_err(fail(dir))?;
    for name in ["community", "tls"] {
        let inner = dir.join(name);
        private::directory(&inner).map_err(fail(&inner))?;
    }
    let mut written: Vec<&Path> = vec![];
    for (path, bytes) in &plan.files {
        let made =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(
                |mut file| {
                    file.write_all(bytes.expose())?;
                    file.sync_all()
                },
            );
        if let Err(source) = made {
            for path in written {
                let _ = fs::remove_file(path);
            }
            return Err(if source.kind() == std::io::ErrorKind::AlreadyExists {
                InitError::Exists(path.clone())
            } else {
                InitError::File { path: path.clone(), source }
            });
        }
        written.push(path);
    }
    Ok(())
}

fn next_steps(ui: Ui, options: &Init, answers: &Answers, base: &str) {
    let dir = options.dir.display();
    let say = |text: String| ui.line(&text);
    say(format!("{} {dir}/ward.toml", ui.good("written:")));
    say(String::new());
    say(ui.bold("Next:"));
    say(format!("1. Send {dir}/community/request.pem to the operator of {}.", answers.community));
    say(format!("   The certificate must have an RSA key and the SAN URI {base}."));
    say(format!(
        "   Save what comes back as {dir}/community/certificate.pem (leaf first, without the root)"
    ));
    say(format!("   and the community's root certificates as {dir}/community/anchors.pem."));
    if options.self_signed_tls {
        say(format!(
            "2. TLS: {dir}/tls/certificate.pem signs itself, which is for trying out only."
        ));
    } else {
        say(format!(
            "2. Put the TLS certificate of {} at {dir}/tls/certificate.pem and its key at {dir}/tls/key.pem.",
            host(&answers.origin)
        ));
    }
    say(format!("3. ward check --config {dir}/ward.toml"));
    say(format!("4. ward serve --config {dir}/ward.toml"));
    say(String::new());
    match &answers.passphrase_file {
        Some(path) => say(format!(
            "Keep a copy of {} apart from the data: without it nothing opens.",
            path.display()
        )),
        None => say(format!(
            "Keep a copy of {dir}/vault.key apart from the data: without it nothing opens."
        )),
    }
    say(format!(
        "{} Ward begins in observe mode: it decides and logs, and BLOCKS NOTHING.",
        ui.bold("Mind:")
    ));
    say(format!(
        "Read what it would refuse with: ward report would-refuse --config {dir}/ward.toml"
    ));
    say("and set mode = \"enforce\" when no honest client is in it (docs/observe.md).".to_owned());
    if answers.private_upstream {
        say("The upstream has a private address, so upstream.allow_private is set.".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        Answers {
            origin: "https://ward.example.org".into(),
            upstream: "http://127.0.0.1:8080/fhir".into(),
            community: "urn:oid:2.16.840.1".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 443)),
            private_upstream: true,
            passphrase_file: None,
        }
    }

    /// Every key stands in the file, set or as a comment with its default, and the file is read as it is.
    #[test]
    fn the_file_shows_every_key_and_is_read() {
        let text = configuration(&answers());
        let config = Config::parse(&text).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
        assert_eq!(config.problems(), vec![], "{text}");
        assert_eq!(config.limits, ward_core::Limits::default());
        for field in ROOT.fields {
            assert!(text.contains(field.name), "{}", field.name);
            if let Kind::Table(section) | Kind::Tables(section) = field.kind {
                for inner in section.fields {
                    assert!(text.contains(&format!("{} =", inner.name)), "{}", inner.name);
                }
            }
        }
        assert!(text.lines().all(|line| line.len() <= 110), "lines are short");
        // The defaults in the comments are the ones that hold without them.
        let all: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => rest,
                _ => line,
            })
            .fold(String::new(), |all, line| all + line + "\n");
        let said = Config::parse(&all).unwrap_or_else(|e| panic!("{e:?}\n{all}"));
        assert_eq!(format!("{:?}", said.limits), format!("{:?}", config.limits));
        assert_eq!(format!("{:?}", said.community), format!("{:?}", config.community));
        assert_eq!(format!("{:?}", said.detection), format!("{:?}", config.detection));
        assert_eq!(said.admin, config.admin);
        assert_eq!(said.diagnostics, config.diagnostics);
    }

    #[test]
    fn private_addresses_are_told_by_their_letters() {
        for (url, private) in [
            ("http://127.0.0.1:8080/fhir", true),
            ("http://[::1]:8080/fhir", true),
            ("http://hapi:8080/fhir", true),
            ("http://10.1.2.3/fhir", true),
            ("https://fhir.example.org/r4", false),
            ("https://8.8.8.8/fhir", false),
        ] {
            assert_eq!(is_private(url), private, "{url}");
        }
    }
}
