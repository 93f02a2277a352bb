//! CPU time and memory of processes, from `/proc`.

use std::fs;
use std::process::Command;

use crate::Error;

/// A server's process with its children (nginx's workers).
#[derive(Clone)]
pub struct Processes {
    pids: Vec<u32>,
    ticks_per_second: f64,
}

impl Processes {
    pub fn of(root: u32) -> Result<Self, Error> {
        let ticks = Command::new("getconf").arg("CLK_TCK").output()?.stdout;
        let mut pids = vec![root];
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if stat(pid)
                .is_some_and(|fields| fields.get(1).is_some_and(|ppid| *ppid == root.to_string()))
            {
                pids.push(pid);
            }
        }
        Ok(Self { pids, ticks_per_second: String::from_utf8(ticks)?.trim().parse()? })
    }

    /// User and system time so far, seconds.
    pub fn cpu(&self) -> f64 {
        let ticks = |pid: &u32| -> f64 {
            let fields = stat(*pid).unwrap_or_default();
            [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum()
        };
        self.pids.iter().map(ticks).sum::<f64>() / self.ticks_per_second
    }

    /// Resident memory now, MiB; shared pages count for each process in part (Pss).
    pub fn rss(&self) -> f64 {
        let kib = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let pss = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            pss.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        self.pids.iter().map(kib).sum::<f64>() / 1024.0
    }
}

/// Threads and open files of one process, now.
pub fn threads_and_files(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"))?;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some((threads.trim().parse().ok()?, u64::try_from(files).ok()?))
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// The machine, in one line.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("?", |(_, name)| name);
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} × {model}, Linux {}", kernel.trim())
}

/// Load average of the last minute: whether others used the machine.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
