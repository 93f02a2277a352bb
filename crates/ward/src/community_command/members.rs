//! Members' certificates: requested, issued, renewed, re-keyed, revoked, listed.

use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, SanType};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use ward_community::{CertificateRequest, Operator, Profile, members_of, pem};
use ward_core::{ClientUri, Secret, Thumbprint};
use ward_trust::{Certificate, SigningRequest};

use super::args::{Issue, Life, List, Rekey, Renew, Request, Revoke, Which};
use super::place::{Home, file, write};
use super::{CommunityCommandError, Result, read};
use crate::house::System;
use crate::private;
use crate::ui::Ui;

fn unfit(path: &Path, what: impl Into<String>) -> CommunityCommandError {
    CommunityCommandError::Unfit { path: path.to_path_buf(), what: what.into() }
}

/// The host of a URI, or as much of it as names a holder.
pub(super) fn host(uri: &str) -> String {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest).chars().take(50).collect()
}

pub(super) fn request(ui: Ui, options: &Request, system: &System) -> Result<()> {
    let (key_path, request_path) = (options.out.join("key.pem"), options.out.join("request.pem"));
    if key_path.symlink_metadata().is_ok() {
        let what = "exists already, and no key is overwritten; name a new directory";
        return Err(unfit(&key_path, what));
    }
    ClientUri::parse(&options.uri).map_err(|error| CommunityCommandError::Option {
        flag: "--uri",
        why: format!("{error}; write it as https://partner.example/app"),
    })?;
    private::directory(&options.out).map_err(file(&options.out))?;
    let signing = ward_community::CommunityError::Signing;
    let algorithm =
        if options.rsa { &rcgen::PKCS_RSA_SHA256 } else { &rcgen::PKCS_ECDSA_P256_SHA256 };
    let key = KeyPair::generate_for(algorithm).map_err(signing)?;
    let mut params = CertificateParams::default();
    let uri = options.uri.as_str().try_into().map_err(signing)?;
    params.subject_alt_names = vec![SanType::URI(uri)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let asked = params.serialize_request(&key).map_err(signing)?;
    let text = Secret::new(pem("PRIVATE KEY", &key.serialize_der()));
    write(&key_path, text.expose().as_bytes(), system)?;
    write(&request_path, pem("CERTIFICATE REQUEST", asked.der()).as_bytes(), system)?;
    ui.line(&format!("written {}: it stays with you", key_path.display()));
    ui.line(&format!("written {}: send it to the operator", request_path.display()));
    Ok(())
}

fn asked(path: &Path) -> Result<SigningRequest> {
    let der = CertificateSigningRequestDer::from_pem_slice(&read(path)?).map_err(|_| {
        unfit(path, "no request in PEM; `ward init` writes community/request.pem, `ward community request` a client's")
    })?;
    SigningRequest::from_der(&der).map_err(|error| unfit(path, error.to_string()))
}

fn life(of: &Life) -> Duration {
    Duration::from_hours(of.days * 24)
}

/// Writes a chain and says what it is.
fn hand_out(ui: Ui, word: &str, chain: &[Vec<u8>], out: &Path, system: &System) -> Result<()> {
    let text: String = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    write(out, text.as_bytes(), system)?;
    let leaf = chain.first().and_then(|der| Certificate::from_der(der).ok());
    if let Some(leaf) = leaf {
        let serial = ward_core::crypto::hex(leaf.serial());
        let uris = leaf.san_uris().join(" ");
        ui.line(&format!("{word} {uris}  until {}", leaf.not_after().to_rfc3339()));
        ui.line(&format!("serial {serial}"));
    }
    ui.line(&format!("written {}", out.display()));
    Ok(())
}

pub(super) async fn issue(ui: Ui, options: &Issue, system: &System) -> Result<()> {
    let asked = asked(&options.request)?;
    let profile = Profile::from(options.profile);
    let first = options.uri.first().map(String::as_str).unwrap_or_default();
    let wanted = CertificateRequest {
        profile,
        name: options.name.clone().unwrap_or_else(|| host(first)),
        san_uris: options.uri.clone(),
        life: life(&options.life),
        // The key that counts is the request's.
        ..CertificateRequest::server("", "")
    };
    let home = Home::new(&options.place, None, system);
    let chain = home.act(async |operator| Ok(operator.certify(&wanted, &asked).await?)).await?;
    hand_out(ui, "issued", &chain, &options.life.out, system)
}

/// The certificate that is meant.
async fn which(operator: &Operator, of: &Which) -> Result<Thumbprint> {
    if let Some(serial) = &of.serial {
        return Ok(operator.by_serial(serial).await?);
    }
    let path = of.certificate.as_deref().unwrap_or(Path::new(""));
    let der = CertificateDer::from_pem_slice(&read(path)?)
        .map_err(|_| unfit(path, "no certificate in PEM"))?;
    let found = Certificate::from_der(&der).map_err(|error| unfit(path, error.to_string()))?;
    Ok(found.thumbprint())
}

pub(super) async fn renew(ui: Ui, options: &Renew, system: &System) -> Result<()> {
    let home = Home::new(&options.place, None, system);
    let chain = home
        .act(async |operator| {
            let old = which(operator, &options.which).await?;
            Ok(operator.renew(&old, life(&options.life)).await?)
        })
        .await?;
    hand_out(ui, "renewed", &chain, &options.life.out, system)
}

pub(super) async fn rekey(ui: Ui, options: &Rekey, system: &System) -> Result<()> {
    let asked = asked(&options.request)?;
    let home = Home::new(&options.place, None, system);
    let chain = home
        .act(async |operator| {
            let old = which(operator, &options.which).await?;
            Ok(operator.rekey(&old, &asked, life(&options.life)).await?)
        })
        .await?;
    hand_out(ui, "re-keyed", &chain, &options.life.out, system)?;
    ui.line("the former certificate stays good until you revoke it: --reason superseded, or key-compromise");
    Ok(())
}

pub(super) async fn revoke(ui: Ui, options: &Revoke, system: &System) -> Result<()> {
    let home = Home::new(&options.place, None, system);
    let (count, number, thumbprint) = home
        .act(async |operator| {
            let thumbprint = which(operator, &options.which).await?;
            let count = operator.revoke(&thumbprint, options.reason).await?;
            Ok((count, operator.list(ward_community::Authority::Issuing).number, thumbprint))
        })
        .await?;
    ui.line(&format!("revoked {thumbprint}: {}", options.reason.as_str()));
    if count > 1 {
        ui.line(&format!("and every other certificate for the same key: {count} in all"));
    }
    ui.line(&format!("list number {number} names it, and OCSP tells it from now on"));
    Ok(())
}

pub(super) fn list(ui: Ui, options: &List, system: &System) -> Result<()> {
    let now = system.clock.now();
    let members = members_of(&options.dir.join("ca"))?;
    for member in &members {
        if options.json {
            ui.line(&serde_json::to_string(member).unwrap_or_default());
            continue;
        }
        let state = match member.revoked {
            Some(revoked) => format!("revoked {}", revoked.reason.as_str()),
            None if member.not_after < now => "lapsed".to_owned(),
            None => "good".to_owned(),
        };
        let until = member.not_after.to_rfc3339();
        let day = until.split('T').next().unwrap_or_default();
        let uris = member.san_uris.join(" ");
        ui.line(&format!(
            "{}  {:<20} until {day}  {state:<14} {}  {uris}",
            member.serial,
            member.profile.word(),
            member.name,
        ));
    }
    if !options.json {
        ui.line(&format!("{} issued in all", members.len()));
    }
    Ok(())
}
