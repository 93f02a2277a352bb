//! What would stop with a certificate, and what ends by itself soon. Nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ward_core::{ClientId, Thumbprint, Timestamp, crypto};
use ward_policy::Subject;
use ward_trust::Certificate;

use super::shapes::{EndingClient, Ends, Lapse, Lapses};
use crate::admin::Admin;
use crate::commands::AdminError;
use crate::hanging::Walk;

/// Clients and lapses named at most.
const NAMED: usize = 1000;
/// Certificates that one serial number may mean.
const MEANT: usize = 16;
/// Longest look ahead, days.
const AHEAD: u64 = 3660;

/// Which certificate is meant.
enum Meant {
    Thumbprint(Thumbprint),
    /// Hexadecimal, without leading zero octets.
    Serial(String),
}

impl Meant {
    fn parse(text: &str) -> Option<Self> {
        let text: String =
            text.trim().chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
        if let Ok(thumbprint) = Thumbprint::parse(&text) {
            return Some(Self::Thumbprint(thumbprint));
        }
        let hexadecimal = text.bytes().all(|b| b.is_ascii_hexdigit());
        // Twenty octets at most (RFC 5280 §4.1.2.2), and one that pads.
        if text.is_empty() || text.len() > 42 || !hexadecimal {
            return None;
        }
        let mut serial = if text.len() % 2 == 1 { format!("0{text}") } else { text };
        while serial.len() > 2 && serial.starts_with("00") {
            serial.drain(..2);
        }
        Some(Self::Serial(serial))
    }

    fn is(&self, one: &Certificate) -> bool {
        match self {
            Self::Thumbprint(thumbprint) => one.thumbprint() == *thumbprint,
            Self::Serial(serial) => one.serial_text() == *serial,
        }
    }
}

impl Admin {
    /// What would stop with each certificate that is meant.
    pub(crate) async fn would_end(&self, certificate: &str) -> Result<Vec<Ends>, AdminError> {
        let unknown = AdminError::Unknown("certificate here, by SHA-256 thumbprint or serial");
        let Some(meant) = Meant::parse(certificate) else { return Err(unknown) };
        let served = self.deps.issuer.communities();
        let mut found: BTreeMap<Thumbprint, Ends> = BTreeMap::new();
        for community in &served {
            let own = |role, one: &Certificate, found: &mut BTreeMap<_, _>| {
                if meant.is(one) {
                    self.entry(found, role, one, None).communities.push(community.uri.clone());
                }
            };
            for one in &community.anchors {
                own("anchor", one, &mut found);
            }
            for one in &community.intermediates {
                own("issuer", one, &mut found);
            }
        }
        for (uri, one) in self.deps.issuer.certificates() {
            if meant.is(&one) {
                self.entry(&mut found, "server", &one, None).ours.push(uri);
            }
        }
        self.deps.issuer.mark_new().await?;
        let mut walk = Walk::on(self.meant(&meant, found.keys().copied()).await?);
        loop {
            let page = self.step(&mut walk).await?;
            if page.is_empty() {
                break;
            }
            for registration in &page {
                let grants = &self.deps.store.grants;
                let live = grants.live_for_client(&self.tenant, registration.client).await?;
                let community = served.iter().find(|one| one.uri == registration.community);
                let trails = self.trails(self.shown(registration, &live).await?, community).await;
                for trail in &trails {
                    let all = &trail.certificates;
                    for (at, one) in all.iter().enumerate().filter(|(_, one)| meant.is(one)) {
                        if found.len() >= MEANT && !found.contains_key(&one.thumbprint()) {
                            continue;
                        }
                        let role = if at == 0 { "client" } else { "issuer" };
                        self.entry(&mut found, role, one, all.get(at + 1));
                    }
                }
                for (thumbprint, ends) in &mut found {
                    let subject = Subject::Certificate(*thumbprint);
                    let hanging: Vec<_> = live
                        .iter()
                        .filter(|grant| grant.hangs_on.iter().any(|(on, _)| *on == subject))
                        .collect();
                    let stops = !registration.cancelled
                        && trails.iter().any(|one| one.registered && one.has(*thumbprint));
                    if hanging.is_empty() && !stops {
                        continue;
                    }
                    ends.registrations += usize::from(stops);
                    ends.live_grants += hanging.len();
                    let last = hanging.iter().map(|grant| grant.expires).max();
                    ends.last_token_ends = ends.last_token_ends.max(last);
                    if ends.clients.len() < NAMED {
                        ends.clients.push(EndingClient {
                            client: registration.client,
                            uri: registration.uri.clone(),
                            name: registration.client_name.clone(),
                            community: registration.community.clone(),
                            contacts: registration.contacts.clone(),
                            registration: stops,
                            grants: hanging.iter().map(|grant| grant.id).collect(),
                        });
                    }
                }
            }
        }
        if found.is_empty() { Err(unknown) } else { Ok(found.into_values().collect()) }
    }

    /// The certificates that are meant: those that were found already, and those that clients hang on.
    async fn meant(
        &self,
        meant: &Meant,
        found: impl Iterator<Item = Thumbprint>,
    ) -> Result<BTreeSet<Thumbprint>, AdminError> {
        let mut all: BTreeSet<Thumbprint> = found.collect();
        match meant {
            Meant::Thumbprint(one) => all.extend([*one]),
            Meant::Serial(serial) => {
                let octets = hex_octets(serial);
                let hanging = &self.deps.store.hanging;
                all.extend(hanging.with_serial(&self.tenant, octets, MEANT).await?);
            }
        }
        Ok(all)
    }

    fn entry<'a>(
        &self,
        found: &'a mut BTreeMap<Thumbprint, Ends>,
        role: &'static str,
        one: &Certificate,
        issuer: Option<&Certificate>,
    ) -> &'a mut Ends {
        found.entry(one.thumbprint()).or_insert_with(|| Ends {
            certificate: self.view(role, one, issuer),
            communities: Vec::new(),
            ours: Vec::new(),
            clients: Vec::new(),
            registrations: 0,
            live_grants: 0,
            last_token_ends: None,
        })
    }

    /// What ends within so many days, or has ended.
    pub(crate) async fn expiring(&self, days: u64) -> Result<Lapses, AdminError> {
        let now = self.deps.clock.now();
        let before = now.plus(
            Duration::from_hours(24)
                .saturating_mul(u32::try_from(days.min(AHEAD)).unwrap_or(u32::MAX)),
        );
        let mut found = Found { now, before, lapses: Vec::new() };
        if let Some(tls) = self.deps.site.tls_certificate().await
            && let Ok(tls) = Certificate::from_der(&tls)
        {
            found.certificate("tls-certificate", tls.subject_text(), &tls);
        }
        for (uri, one) in self.deps.issuer.certificates() {
            found.certificate("server-certificate", format!("this Ward in {uri}"), &one);
        }
        for community in self.deps.issuer.communities() {
            let of = |one: &Certificate| format!("{} of {}", one.subject_text(), community.uri);
            for one in &community.anchors {
                found.certificate("anchor", of(one), one);
            }
            for one in &community.intermediates {
                found.certificate("issuer", of(one), one);
            }
            for one in self.certifiers(&community) {
                found.certificate("anchor", format!("{}, of certifiers", of(&one)), &one);
            }
            if let Some(until) = community.trusted_until {
                found.add("bundle", community.uri.to_string(), until);
            }
        }
        for list in self.deps.lists.status().lists {
            let Some((_, next)) = list.validity else { continue };
            let note = match &list.failure {
                Some(why) => format!("could not be renewed: {why}"),
                None => "renewed by itself".to_owned(),
            };
            if let Some(lapse) = found.add("list", list.url, next) {
                lapse.note = Some(note);
            }
        }
        self.deps.issuer.mark_new().await?;
        let ending = self.deps.store.hanging.ending(&self.tenant, before, NAMED + 1).await?;
        for registration in ending.iter().filter(|one| !one.cancelled) {
            let whose = format!("{} ({})", registration.uri, registration.client_name);
            for one in &registration.certifications {
                let whose = format!("{} of {whose}", one.name);
                if let Some(lapse) = found.add("certification", whose, one.expires) {
                    name(lapse, registration.client, &registration.contacts);
                    lapse.note = Some(format!("by {}", one.issuer));
                }
            }
            let Ok(one) = Certificate::from_der(&registration.certificate) else { continue };
            if one.not_after() >= before {
                continue;
            }
            let grants = &self.deps.store.grants;
            let live = grants.live_for_client(&self.tenant, registration.client).await?;
            let renewed = live.iter().any(|grant| grant.certificate != registration.thumbprint);
            let Some(lapse) = found.certificate("client-certificate", whose, &one) else {
                continue;
            };
            name(lapse, registration.client, &registration.contacts);
            lapse.note = renewed.then(|| "it already comes with a newer one".to_owned());
        }
        found.lapses.sort_by_key(|lapse| lapse.until);
        let more = found.lapses.len() > NAMED;
        found.lapses.truncate(NAMED);
        Ok(Lapses { at: now, before, lapses: found.lapses, more })
    }
}

/// The octets of a serial number that [`Meant::parse`] took: an even number of hexadecimal digits.
fn hex_octets(digits: &str) -> Vec<u8> {
    let (pairs, _) = digits.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| crypto::unhex::<1>(std::str::from_utf8(pair).ok()?);
    pairs.iter().filter_map(octet).flatten().collect()
}

fn name(lapse: &mut Lapse, client: ClientId, contacts: &[String]) {
    lapse.client = Some(client);
    lapse.contacts = contacts.to_vec();
}

struct Found {
    now: Timestamp,
    before: Timestamp,
    lapses: Vec<Lapse>,
}

impl Found {
    fn add(&mut self, what: &'static str, whose: String, until: Timestamp) -> Option<&mut Lapse> {
        if until >= self.before {
            return None;
        }
        let over = until <= self.now;
        let (thumbprint, client, note) = (None, None, None);
        let contacts = Vec::new();
        self.lapses.push(Lapse { what, whose, until, over, thumbprint, client, contacts, note });
        self.lapses.last_mut()
    }

    fn certificate(
        &mut self,
        what: &'static str,
        whose: String,
        one: &Certificate,
    ) -> Option<&mut Lapse> {
        let lapse = self.add(what, whose, one.not_after())?;
        lapse.thumbprint = Some(one.thumbprint());
        Some(lapse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_meant_by_thumbprint_or_serial() {
        let thumbprint = "AB".repeat(32);
        assert!(matches!(Meant::parse(&thumbprint), Some(Meant::Thumbprint(_))));
        for (typed, serial) in [("0A:0b", "0a0b"), ("a0b", "0a0b"), ("000a", "0a"), ("00", "00")] {
            let Some(Meant::Serial(meant)) = Meant::parse(typed) else { panic!("{typed}") };
            assert_eq!(meant, serial);
        }
        let long = "1".repeat(43);
        for nonsense in ["", "xyz", "12 34", &long] {
            assert!(Meant::parse(nonsense).is_none(), "{nonsense}");
        }
    }
}
