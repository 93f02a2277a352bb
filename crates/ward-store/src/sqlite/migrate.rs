//! The migration runner: ordered scripts that are part of the program, each applied once in its own
//! transaction, with the checksum of what was applied.
//!
//! Refused: a file that is not a Ward store, a script that differs from the one that was applied,
//! and a schema from a newer version. Each message says what to do.

use rusqlite::{Connection, params};
use ward_core::{Timestamp, crypto};

use crate::StoreError;

/// `application_id` of a Ward store: "WARD".
const APPLICATION: i64 = 0x5741_5244;

/// One step of the schema. Never edited once released; a correction is a further step.
#[derive(Clone, Copy)]
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    pub(super) script: &'static str,
}

/// All steps, in order.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "0001_first_light",
        script: include_str!("../../migrations/0001_first_light.sql"),
    },
    Migration {
        version: 2,
        name: "0002_operators",
        script: include_str!("../../migrations/0002_operators.sql"),
    },
    Migration {
        version: 3,
        name: "0003_holds",
        script: include_str!("../../migrations/0003_holds.sql"),
    },
    Migration {
        version: 4,
        name: "0004_log_marks",
        script: include_str!("../../migrations/0004_log_marks.sql"),
    },
    Migration {
        version: 5,
        name: "0005_presented",
        script: include_str!("../../migrations/0005_presented.sql"),
    },
    Migration {
        version: 6,
        name: "0006_hanging",
        script: include_str!("../../migrations/0006_hanging.sql"),
    },
];

/// Brings the schema to the newest of `migrations`.
pub(super) fn run(
    db: &mut Connection,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<(), StoreError> {
    prepare(db)?;
    let applied = refuse_unknown(db, migrations)?;
    for migration in migrations.iter().skip(applied) {
        let step = db.transaction()?;
        step.execute_batch(migration.script)?;
        step.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied) VALUES (?, ?, ?, ?)",
            params![migration.version, migration.name, checksum(migration), now.as_millis()],
        )?;
        step.commit()?;
        tracing::info!(migration = migration.name, "schema migrated");
    }
    Ok(())
}

/// How many migrations were applied; refuses what is no store, or one that this version does not know.
pub(super) fn refuse_unknown(
    db: &Connection,
    migrations: &[Migration],
) -> Result<usize, StoreError> {
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION {
        return Err(StoreError::Schema("the file is not a store of Ward".to_owned()));
    }
    let applied: Vec<(i64, String, String)> = db
        .prepare("SELECT version, name, checksum FROM schema_migrations ORDER BY version")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let newest = migrations.last().map_or(0, |migration| migration.version);
    if let Some((version, ..)) = applied.last()
        && *version > newest
    {
        return Err(StoreError::Schema(format!(
            "the store has schema {version}, this version of Ward knows up to {newest}: run the \
             version that made it or a newer one, or restore a backup from before the upgrade"
        )));
    }
    for (at, (version, name, checksum)) in applied.iter().enumerate() {
        let known = migrations.get(at).is_some_and(|migration| {
            migration.version == *version && self::checksum(migration) == *checksum
        });
        if !known {
            return Err(StoreError::Schema(format!(
                "migration {name} was applied in another form than this version of Ward carries: \
                 run the version that made the store, or restore the data directory from a backup"
            )));
        }
    }
    Ok(applied.len())
}

/// Marks a new file as a Ward store, and refuses files of other programs.
fn prepare(db: &mut Connection) -> Result<(), StoreError> {
    let step = db.transaction()?;
    let application: i64 = step.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION {
        let objects: i64 =
            step.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != 0 || objects != 0 {
            return Err(StoreError::Schema(
                "the file is not a store of Ward; move it away or choose another data directory"
                    .to_owned(),
            ));
        }
        step.pragma_update(None, "application_id", APPLICATION)?;
        step.execute_batch(
            "CREATE TABLE schema_migrations (
                 version  INTEGER PRIMARY KEY,
                 name     TEXT    NOT NULL,
                 checksum TEXT    NOT NULL,
                 applied  INTEGER NOT NULL
             ) STRICT",
        )?;
    }
    step.commit()?;
    Ok(())
}

/// SHA-256 of the script, hexadecimal.
fn checksum(migration: &Migration) -> String {
    crypto::hex(&crypto::sha256(&[migration.script.as_bytes()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration { version: 1, name: "0001_a", script: "CREATE TABLE a (x)" };
    const SECOND: Migration =
        Migration { version: 2, name: "0002_b", script: "CREATE TABLE b (x)" };
    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn steps_are_applied_once_and_in_order() {
        let mut db = Connection::open_in_memory().unwrap();
        run(&mut db, &[FIRST], NOW).unwrap();
        run(&mut db, &[FIRST, SECOND], NOW).unwrap();
        run(&mut db, &[FIRST, SECOND], NOW).unwrap();
        db.execute_batch("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)").unwrap();
    }

    #[test]
    fn a_changed_step_a_newer_schema_and_another_program_are_refused() {
        let mut db = Connection::open_in_memory().unwrap();
        run(&mut db, &[FIRST, SECOND], NOW).unwrap();
        let changed = Migration { script: "CREATE TABLE a (y)", ..FIRST };
        let error = run(&mut db, &[changed, SECOND], NOW).unwrap_err().to_string();
        assert!(error.contains("0001_a") && error.contains("backup"), "{error}");
        let error = run(&mut db, &[FIRST], NOW).unwrap_err().to_string();
        assert!(error.contains("schema 2") && error.contains("up to 1"), "{error}");

        let mut foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = run(&mut foreign, &[FIRST], NOW).unwrap_err().to_string();
        assert!(error.contains("not a store of Ward"), "{error}");
    }

    #[test]
    fn a_failing_step_leaves_nothing_behind() {
        let mut db = Connection::open_in_memory().unwrap();
        let broken = Migration { script: "CREATE TABLE b (x); CREATE TABLE b (x)", ..SECOND };
        assert!(run(&mut db, &[FIRST, broken], NOW).is_err());
        run(&mut db, &[FIRST, SECOND], NOW).unwrap();
    }

    #[test]
    fn the_steps_of_this_version_count_up_from_one() {
        for (at, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version, i64::try_from(at).unwrap() + 1);
            assert!(migration.name.starts_with(&format!("{:04}_", migration.version)));
        }
    }
}
