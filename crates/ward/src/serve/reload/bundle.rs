//! A trust bundle on its way into force: the way of every reload, all or nothing, and on disk before anybody believes it.

use std::collections::BTreeMap;

use ward_core::CommunityUri;
use ward_trust::SignedBundle;

use super::Reloader;
use crate::bundle_pull::{Kept, KeptError, PullError, Source};
use crate::config::material::{anchors, gather_with};
use crate::house::Turned;
use crate::serve::ServeError;

impl Reloader {
    /// Where the trust bundles come from, by community.
    pub(crate) async fn bundles(&self) -> BTreeMap<CommunityUri, Source> {
        let state = self.state.lock().await;
        let named = state.config.community.iter();
        named
            .filter_map(|one| Some((CommunityUri::parse(&one.uri).ok()?, one.bundle_source()?)))
            .collect()
    }

    /// The bundle of this community that was taken last.
    pub(crate) async fn kept(&self, uri: &CommunityUri) -> Result<Option<Kept>, KeptError> {
        let state = self.state.lock().await;
        Kept::read(&state.config.data, uri, &state.config.limits)
    }

    /// Takes up a bundle that was verified: kept on disk, then in force, or neither.
    pub(crate) async fn take_bundle(
        &self,
        bundle: &SignedBundle,
        document: &[u8],
    ) -> Result<(), PullError> {
        let state = self.state.lock().await;
        let (config, uri) = (&state.config, &bundle.bundle().community);
        let reload = |error: ServeError| PullError::Reload(Box::new(error));
        let refuse = |problems| reload(config.faulty(problems).into());
        let material = gather_with(config, Some(bundle)).map_err(refuse)?;
        let pinned = match config.community.iter().find(|one| one.uri == uri.as_str()) {
            Some(one) => anchors(config, &one.anchors).map_err(|problem| refuse(vec![problem]))?,
            // The configuration changed meanwhile: nobody follows it any more.
            None => return Ok(()),
        };
        let now = material.communities.iter().find(|one| one.community.uri == *uri);
        let lacking = now.map(|one| material.lacking(&one.community)).unwrap_or_default();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            tracing::warn!(community = %uri, %lacking, "the community asks its servers for scopes that this one does not support");
        }
        let before = Kept::read(&config.data, uri, &config.limits)?;
        let raw = Kept::raw(&config.data, uri);
        let rng = &*self.system.rng;
        Kept::write(&config.data, before.as_ref(), bundle, document, &pinned, rng)?;
        let said = bundle.bundle();
        let changed = [format!("{uri}: bundle {}, {} anchors", said.sequence, said.anchors.len())];
        let turned = Turned { action: "bundle-taken", operator: None, changed: &changed };
        if let Err(error) = self.take(config, material, turned).await {
            Kept::restore(&config.data, uri, raw.as_deref(), rng)?;
            return Err(reload(error));
        }
        Ok(())
    }
}
