//! The disk in memory keeps its own promises.

use std::io::ErrorKind;

use crate::disk::Disk as _;
use crate::testing::{Fault, MemoryDisk, Survival};

#[test]
fn only_what_was_synced_survives() {
    let disk = MemoryDisk::new();
    disk.append("a", b"one").unwrap();
    disk.sync("a").unwrap();
    assert_eq!(disk.crash(Survival::Nothing).read("a").unwrap(), None, "its name was not synced");
    let disk = MemoryDisk::new();
    disk.append("a", b"one").unwrap();
    disk.sync("a").unwrap();
    disk.sync_dir("").unwrap();
    disk.append("a", b"two").unwrap();
    disk.rename("a", "b").unwrap();
    let after = disk.crash(Survival::Nothing);
    assert_eq!(after.read("a").unwrap().unwrap(), b"one");
    assert_eq!(after.read("b").unwrap(), None);
    assert!(disk.append("a", b"dead").is_err());
}

#[test]
fn a_full_disk_takes_a_part() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(5));
    let error = disk.append("a", b"12345678").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.read("a").unwrap().unwrap(), b"12345");
    disk.truncate("a", 2).unwrap();
    disk.append("a", b"345").unwrap();
    assert_eq!(disk.read("a").unwrap().unwrap(), b"12345");
}

#[test]
fn the_chosen_operation_goes_wrong_in_the_middle() {
    let disk = MemoryDisk::new();
    disk.fail_at(2, Fault::Error);
    disk.append("a", b"12").unwrap();
    assert!(disk.append("a", b"34").is_err());
    assert_eq!(disk.read("a").unwrap().unwrap(), b"123");
    disk.fail_at(1, Fault::Crash);
    assert!(disk.append("a", b"45").is_err());
    assert!(disk.read("a").is_err());
    let first = disk.lock();
    assert!(first.is_err());
}
