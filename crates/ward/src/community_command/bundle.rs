//! `ward community bundle publish` and `ward community directory publish`: what members follow and who they are.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use ward_community::BundleTerms;
use ward_trust::Certificate;

use super::args::{BundlePublish, DirectoryPublish};
use super::place::Home;
use super::{CommunityCommandError, Result, read};
use crate::house::System;
use crate::ui::Ui;

pub(crate) async fn publish(ui: Ui, options: &BundlePublish, system: &System) -> Result<()> {
    let certificates = |path: &Option<std::path::PathBuf>| match path {
        Some(path) => certificates(path),
        None => Ok(Vec::new()),
    };
    let terms = BundleTerms {
        purposes: options.purposes.clone(),
        organization_schemes: options.organization_schemes.clone(),
        certifications: options.certifications.clone(),
        certifiers: options.certifiers.clone(),
        value_sets: ward_trust::context::ValueSets {
            subject_id_systems: options.subject_id_systems.clone(),
            subject_roles: options.roles.clone(),
            consent_policies: options.consent_policies.clone(),
            scopes: options.scopes.clone(),
        },
        anchors: certificates(&options.add_anchors)?,
        intermediates: certificates(&options.add_intermediates)?,
        days: options.days,
    };
    let home = Home::new(&options.place, None, system);
    home.act(async |operator| {
        let signed = operator.publish_bundle(&terms).await?;
        say(ui, signed.bundle());
        ui.line(&format!("members follow it from {}/bundle.jwt", operator.base_url()));
        Ok(())
    })
    .await
}

pub(super) fn say(ui: Ui, bundle: &ward_trust::Bundle) {
    ui.line(&format!(
        "bundle {}  {} anchors, good until {}",
        bundle.sequence,
        bundle.anchors.len(),
        bundle.expires.to_rfc3339()
    ));
}

pub(crate) async fn directory(ui: Ui, options: &DirectoryPublish, system: &System) -> Result<()> {
    let home = Home::new(&options.place, None, system);
    home.act(async |operator| {
        let entries = operator.publish_directory().await?;
        ui.line(&format!(
            "directory  {entries} entries, at {}/directory.json",
            operator.base_url()
        ));
        Ok(())
    })
    .await
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let unfit = |what: &str| CommunityCommandError::Unfit {
        path: path.to_path_buf(),
        what: what.to_owned(),
    };
    let bytes = read(path)?;
    let found: Vec<Certificate> = CertificateDer::pem_slice_iter(&bytes)
        .map(|der| der.ok().and_then(|der| Certificate::from_der(&der).ok()))
        .collect::<Option<_>>()
        .ok_or_else(|| unfit("is damaged PEM; write it again"))?;
    if found.is_empty() {
        return Err(unfit("holds no certificate in PEM"));
    }
    Ok(found)
}
