//! Who the operators are: the first by a one-time code, the others by a security officer; each proves
//! itself with a key. Every attempt that fails is recorded, up to the bound, and slowed beyond it.

use std::net::IpAddr;

use ward_core::{EventKind, OperatorId, OperatorName, crypto};
use ward_store::StoreError;
use ward_store::repo::OperatorRecord;

use crate::admin::Admin;
use crate::commands::{AdminError, Done, OperatorSummary};
use crate::credentials::{BootstrapCode, IssuedKey, read_key};
use crate::{Operator, Role};

impl Admin {
    /// A one-time code for the console of the machine, if there is no operator yet. It takes the place of
    /// an earlier one and ends after `limits.bootstrap_life`.
    pub async fn offer_bootstrap(&self) -> Result<Option<BootstrapCode>, AdminError> {
        if !self.deps.store.operators.list(&self.tenant).await?.is_empty() {
            return Ok(None);
        }
        let code = BootstrapCode::new(&*self.deps.rng);
        let expires = self.deps.clock.now().plus(self.deps.limits.bootstrap_life);
        let event = self.event(&console(), EventKind::Operator, "bootstrap-offered");
        let operators = &self.deps.store.operators;
        match operators.offer(&self.tenant, code.hash(), expires, event).await {
            // Someone became the first operator meanwhile.
            Err(StoreError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
            Ok(seq) => {
                self.deps.sink.settle(seq).await?;
                Ok(Some(code))
            }
        }
    }

    /// A one-time code for the console of the machine although there are operators: makes one more security
    /// officer where keys were lost, which the officers who are left could not do alone.
    pub async fn offer_recovery(&self) -> Result<BootstrapCode, AdminError> {
        let code = BootstrapCode::new(&*self.deps.rng);
        let expires = self.deps.clock.now().plus(self.deps.limits.bootstrap_life);
        let event = self.event(&console(), EventKind::Operator, "recovery-offered");
        let operators = &self.deps.store.operators;
        let seq = operators.offer_one_more(&self.tenant, code.hash(), expires, event).await?;
        self.deps.sink.settle(seq).await?;
        Ok(code)
    }

    /// Makes the operator, a security officer, for one who has the code of the console.
    pub async fn bootstrap(
        &self,
        typed: &str,
        name: OperatorName,
        from: IpAddr,
    ) -> Result<Done, AdminError> {
        let now = self.deps.clock.now();
        self.attempts.check((from, None), now).map_err(AdminError::Slow)?;
        let role = Role::SecurityOfficer;
        let (record, key) = self.new_operator(name.clone(), role);
        let event = self
            .event(&named(&name, role), EventKind::Operator, "bootstrapped")
            .with("role", role.word());
        let hash = BootstrapCode::hash_of(typed);
        match self.deps.store.operators.claim(hash, now, record, event).await {
            Ok(seq) => {
                self.deps.sink.settle(seq).await?;
                Ok(Done::OperatorAdded { name, role, key })
            }
            Err(StoreError::Conflict) => {
                self.attempts.failed((from, None), now);
                let event = self.event(&console(), EventKind::Operator, "bootstrap");
                self.deps.sink.record(vec![event.refused("ADMIN-CODE")]).await?;
                Err(AdminError::Code)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who presents this key. Compared in constant time; failures are recorded and slowed.
    pub async fn authenticate(&self, key: &str, from: IpAddr) -> Result<Operator, AdminError> {
        let now = self.deps.clock.now();
        let claimed = read_key(key);
        let record = match claimed {
            Some((id, _)) => self.deps.store.operators.get(&self.tenant, id).await?,
            None => None,
        };
        let target = (from, record.as_ref().map(|record| record.id));
        self.attempts.check(target, now).map_err(AdminError::Slow)?;
        let proved = record.as_ref().zip(claimed).and_then(|(record, (_, hash))| {
            let kept = crypto::unhex::<32>(&record.key_hash)?;
            let role = Role::parse(&record.role)?;
            crypto::same(&kept, &hash).then(|| named(&record.name, role))
        });
        if let Some(operator) = proved {
            return Ok(operator);
        }
        self.attempts.failed(target, now);
        let who = record.map_or_else(unknown, |record| named(&record.name, Role::Auditor));
        let event = self.event(&who, EventKind::Operator, "authenticate").refused("ADMIN-KEY");
        self.deps.sink.record(vec![event]).await?;
        Err(AdminError::Key)
    }

    pub(crate) async fn add_operator(
        &self,
        operator: &Operator,
        name: OperatorName,
        role: Role,
    ) -> Result<Done, AdminError> {
        let _one_at_a_time = self.operators_change.lock().await;
        let bound = self.deps.limits.operators;
        if self.deps.store.operators.list(&self.tenant).await?.len() >= bound {
            return Err(AdminError::TooMany(bound));
        }
        let (record, key) = self.new_operator(name.clone(), role);
        let event = self
            .event(operator, EventKind::Operator, "add-operator")
            .with("name", name.as_str())
            .with("role", role.word());
        match self.deps.store.operators.add(record, event).await {
            Err(StoreError::Conflict) => Err(AdminError::NameTaken),
            Err(error) => Err(error.into()),
            Ok(seq) => {
                self.deps.sink.settle(seq).await?;
                Ok(Done::OperatorAdded { name, role, key })
            }
        }
    }

    pub(crate) async fn remove_operator(
        &self,
        operator: &Operator,
        name: OperatorName,
    ) -> Result<Done, AdminError> {
        let _one_at_a_time = self.operators_change.lock().await;
        let all = self.deps.store.operators.list(&self.tenant).await?;
        let found =
            all.iter().find(|one| one.name == name).ok_or(AdminError::Unknown("operator"))?;
        if is_officer(found) && all.iter().filter(|one| is_officer(one)).count() < 2 {
            return Err(AdminError::LastOfficer);
        }
        let event = self
            .event(operator, EventKind::Operator, "remove-operator")
            .with("name", name.as_str())
            .with("role", found.role.as_str());
        match self.deps.store.operators.remove(&self.tenant, found.id, event).await {
            Err(StoreError::Conflict) => Err(AdminError::Unknown("operator")),
            Err(error) => Err(error.into()),
            Ok(seq) => {
                self.deps.sink.settle(seq).await?;
                Ok(Done::OperatorRemoved(name))
            }
        }
    }

    pub(crate) async fn list_operators(&self) -> Result<Done, AdminError> {
        let all = self.deps.store.operators.list(&self.tenant).await?;
        let summary = |one: OperatorRecord| OperatorSummary {
            role: Role::parse(&one.role),
            name: one.name,
            created: one.created,
        };
        Ok(Done::Operators(all.into_iter().map(summary).collect()))
    }

    /// The kept operator of this name.
    pub(crate) async fn kept(&self, operator: &Operator) -> Result<OperatorRecord, AdminError> {
        let all = self.deps.store.operators.list(&self.tenant).await?;
        let mut all = all.into_iter();
        all.find(|one| one.name.as_str() == operator.name).ok_or(AdminError::Unknown("operator"))
    }

    fn new_operator(&self, name: OperatorName, role: Role) -> (OperatorRecord, IssuedKey) {
        let (clock, rng) = (&*self.deps.clock, &*self.deps.rng);
        let id = OperatorId::new(clock, rng);
        let key = IssuedKey::new(id, rng);
        let record = OperatorRecord {
            id,
            tenant: self.tenant.clone(),
            name,
            role: role.word().to_owned(),
            key_hash: crypto::hex(&key.hash()),
            created: clock.now(),
        };
        (record, key)
    }
}

/// Whether it is a security officer.
pub(crate) fn is_officer(record: &OperatorRecord) -> bool {
    Role::parse(&record.role) == Some(Role::SecurityOfficer)
}

/// An operator by its kept name.
pub(crate) fn named(name: &OperatorName, role: Role) -> Operator {
    Operator { name: name.as_str().to_owned().into(), role }
}

/// Whoever sits at the machine.
fn console() -> Operator {
    Operator { name: "ward-console".into(), role: Role::Automatic }
}

/// Whoever presented the key of nobody.
fn unknown() -> Operator {
    Operator { name: "ward-unknown".into(), role: Role::Automatic }
}
