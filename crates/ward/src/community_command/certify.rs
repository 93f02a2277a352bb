//! `ward community certify` and `ward community certification`: what the community vouches for beyond membership.

use std::time::Duration;

use ward_community::{CertificationTerms, certifications_of, members_of};
use ward_core::ClientUri;
use ward_trust::SigningIdentity;

use super::certify_args::{
    CertificationAct, CertificationList, CertificationRevoke, Certify, Grant,
};
use super::place::{Home, write};
use super::{CommunityCommandError, Result, pem_files};
use crate::house::System;
use crate::ui::Ui;

fn uri(flag: &'static str, text: &str) -> Result<ClientUri> {
    ClientUri::parse(text).map_err(|error| CommunityCommandError::Option {
        flag,
        why: format!("{error}; write it as https://partner.example/app"),
    })
}

pub(super) async fn certify(ui: Ui, options: &Certify, system: &System) -> Result<()> {
    let subject = uri("--subject", &options.subject)?;
    let signer = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            let (chain, key) = (pem_files::chain(certificate)?, pem_files::key(key)?);
            let identity = SigningIdentity::from_pkcs8(&chain, &key);
            Some(identity.map_err(|error| CommunityCommandError::Unfit {
                path: certificate.clone(),
                what: format!("does not sign with --key: {error}"),
            })?)
        }
        _ => None,
    };
    let grants = options.grant.iter().flat_map(|grant| match grant {
        Grant::ClientCredentials => &["client_credentials"][..],
        Grant::AuthorizationCode => &["authorization_code", "refresh_token"],
    });
    let grant_types = grants.map(|&word| word.to_owned()).collect();
    let home = Home::new(&options.place, None, system);
    let (jwt, issued, bundle) = home
        .act(async |operator| {
            let certifier = match (&options.certifier, &signer) {
                (Some(named), _) => named.clone(),
                (None, Some(own)) => own.san_uris().first().cloned().unwrap_or_default(),
                (None, None) => {
                    format!("{}/certifications", operator.uri().as_str().trim_end_matches('/'))
                }
            };
            let terms = CertificationTerms {
                subject,
                certifier: uri("--certifier", &certifier)?,
                name: options.name.clone(),
                uris: options.uri.clone(),
                endorsement: options.endorsement,
                scope: options.scope.clone(),
                grant_types,
                audiences: options.audience.clone(),
                life: Duration::from_hours(24 * options.days),
                status_endpoint: options.status_endpoint.clone(),
                signer,
            };
            let (jwt, issued) = operator.certify_client(terms).await?;
            // Members learn by the bundle whose word counts under the community's own roots.
            let bundle = operator.name_certifiers().await?;
            Ok((jwt, issued, bundle))
        })
        .await?;
    write(&options.out, format!("{jwt}\n").as_bytes(), system)?;
    ui.line(&format!("certified {}  until {}", issued.subject, issued.expires.to_rfc3339()));
    ui.line(&format!("id        {}", issued.jti));
    ui.line(&format!("certifier {}", issued.certifier));
    if let Some(signed) = bundle {
        super::bundle::say(ui, signed.bundle());
    }
    let known = members_of(&home.ca())?;
    let is_member =
        known.iter().any(|one| one.revoked.is_none() && one.san_uris.contains(&issued.subject));
    if !is_member {
        ui.line("note: no member of this community has that URI; it counts wherever it is shown, all the same");
    }
    ui.line(&format!("written {}: send it to the client", options.out.display()));
    Ok(())
}

pub(super) async fn run(ui: Ui, act: &CertificationAct, system: &System) -> Result<()> {
    match act {
        CertificationAct::List(options) => list(ui, options, system),
        CertificationAct::Revoke(options) => revoke(ui, options, system).await,
    }
}

fn list(ui: Ui, options: &CertificationList, system: &System) -> Result<()> {
    let now = system.clock.now();
    let issued = certifications_of(&options.dir.join("ca"))?;
    for one in &issued {
        if options.json {
            ui.line(&serde_json::to_string(one).unwrap_or_default());
            continue;
        }
        let state = match one.revoked {
            Some(revoked) => format!("revoked {}", revoked.reason.as_str()),
            None if one.expires < now => "lapsed".to_owned(),
            None => "good".to_owned(),
        };
        let until = one.expires.to_rfc3339();
        let day = until.split('T').next().unwrap_or_default();
        let uris = one.uris.join(" ");
        ui.line(&format!("{}  until {day}  {state:<14} {}  {uris}", one.jti, one.subject));
    }
    if !options.json {
        ui.line(&format!("{} certified in all", issued.len()));
    }
    Ok(())
}

async fn revoke(ui: Ui, options: &CertificationRevoke, system: &System) -> Result<()> {
    let home = Home::new(&options.place, None, system);
    let act = async |operator: &std::sync::Arc<ward_community::Operator>| {
        Ok(operator.revoke_certification(&options.id, options.reason).await?)
    };
    let revoked = home.act(act).await?;
    ui.line(&format!(
        "revoked the certification of {}: {}",
        revoked.subject,
        options.reason.as_str()
    ));
    if revoked.serial.is_some() {
        ui.line("its status says so from now on, and so does the list that was published with it");
    } else {
        ui.line(
            "its status says so from now on; no list names it, for its certifier signs others too",
        );
    }
    Ok(())
}
