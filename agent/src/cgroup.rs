//! Processor and memory of a control group, as parts of what it may use.
//!
//! Which group is for the operator to say, and without a word nothing is reported: what a sidecar's container sees is its own
//! group, and rules about the application must not be decided by the agent's own appetite. Both versions of the kernel's
//! interface are read; the files are the same whoever mounts them, and a folder of a test is as good.

use std::path::{Path, PathBuf};

use blueback_report::Resources;

/// A v1 memory limit that means none: the kernel writes the largest page-aligned number.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// A control group and what it had used when it was last read.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    /// When, and the processor time used until then, in microseconds.
    last: Option<(u64, u64)>,
}

impl Cgroup {
    /// The group in this folder: a v2 group, or the folder above v1's `cpu`, `cpuacct` and `memory`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, last: None }
    }

    /// Reads it at `now_us`. Processor time is over the time since the reading before, so the first has none.
    pub fn read(&mut self, now_us: u64) -> Resources {
        Resources { cpu_ratio: self.cpu(now_us), memory_ratio: self.memory() }
    }

    fn cpu(&mut self, now_us: u64) -> Option<f64> {
        let used_us = self.cpu_used_us()?;
        let (then_us, before_us) = self.last.replace((now_us, used_us))?;
        let passed_us = now_us.checked_sub(then_us).filter(|&passed| passed > 0)?;
        let cores = self.cores()?;
        Some(used_us.saturating_sub(before_us) as f64 / passed_us as f64 / cores)
    }

    fn cpu_used_us(&self) -> Option<u64> {
        if let Some(used) = self.text("cpu.stat").and_then(|stat| field(&stat, "usage_usec")) {
            return Some(used);
        }
        let used_ns = self.first(&["cpuacct/cpuacct.usage", "cpu,cpuacct/cpuacct.usage"])?;
        Some(used_ns.trim().parse::<u64>().ok()? / 1_000)
    }

    /// Cores that it may use: its quota over the period.
    fn cores(&self) -> Option<f64> {
        let ratio = |quota: &str, period: &str| {
            let (quota, period) = (quota.trim().parse::<f64>().ok()?, period.trim().parse::<f64>().ok()?);
            (quota > 0.0 && period > 0.0).then(|| quota / period)
        };
        if let Some(max) = self.text("cpu.max") {
            let (quota, period) = max.trim().split_once(' ')?;
            return ratio(quota, period);
        }
        let quota = self.first(&["cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us"])?;
        let period = self.first(&["cpu/cpu.cfs_period_us", "cpu,cpuacct/cpu.cfs_period_us"])?;
        ratio(&quota, &period)
    }

    fn memory(&self) -> Option<f64> {
        let number = |file| self.text(file)?.trim().parse::<u64>().ok();
        let (used, limit, inactive) = match number("memory.current") {
            Some(used) => (used, number("memory.max")?, field(&self.text("memory.stat")?, "inactive_file")),
            None => (
                number("memory/memory.usage_in_bytes")?,
                number("memory/memory.limit_in_bytes").filter(|&limit| limit < UNLIMITED_BYTES)?,
                field(&self.text("memory/memory.stat")?, "total_inactive_file"),
            ),
        };
        // The working set, as the kubelet counts it: files that nobody reads are given back before anybody is killed.
        let working = used.saturating_sub(inactive.unwrap_or(0));
        (limit > 0).then(|| working as f64 / limit as f64)
    }

    fn text(&self, file: impl AsRef<Path>) -> Option<String> {
        std::fs::read_to_string(self.folder.join(file)).ok()
    }

    fn first(&self, files: &[&str]) -> Option<String> {
        files.iter().find_map(|file| self.text(file))
    }
}

/// The number after `name` in lines of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with these files, gone when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = Self(std::env::temp_dir().join(format!("blueback-cgroup-{name}-{}", std::process::id())));
            folder.write(files);
            folder
        }

        fn write(&self, files: &[(&str, &str)]) {
            for (file, text) in files {
                let path = self.0.join(file);
                fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder can be made");
                fs::write(path, text).expect("a file can be written");
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_two_is_read() {
        let folder = Folder::with(
            "v2",
            &[
                ("cpu.stat", "usage_usec 1000000\nuser_usec 600000\n"),
                ("cpu.max", "50000 100000\n"),
                ("memory.current", "80000000\n"),
                ("memory.max", "100000000\n"),
                ("memory.stat", "anon 1\ninactive_file 30000000\nactive_file 2\n"),
            ],
        );
        let mut cgroup = Cgroup::new(folder.0.clone());
        assert_eq!(cgroup.read(5_000_000), Resources { cpu_ratio: None, memory_ratio: Some(0.5) });
        folder.write(&[("cpu.stat", "usage_usec 1400000\n")]);
        assert_eq!(cgroup.read(6_000_000).cpu_ratio, Some(0.8), "0.4 of half a core");
    }

    #[test]
    fn version_one_is_read() {
        let folder = Folder::with(
            "v1",
            &[
                ("cpu,cpuacct/cpuacct.usage", "1000000000\n"),
                ("cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ("memory/memory.usage_in_bytes", "60\n"),
                ("memory/memory.limit_in_bytes", "100\n"),
                ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 20\n"),
            ],
        );
        let mut cgroup = Cgroup::new(folder.0.clone());
        assert_eq!(cgroup.read(1).memory_ratio, Some(0.4));
        folder.write(&[("cpu,cpuacct/cpuacct.usage", "2000000000\n")]);
        assert_eq!(cgroup.read(1_000_001).cpu_ratio, Some(0.5), "one of two cores");
    }

    #[test]
    fn without_a_limit_there_is_no_ratio() {
        let folder = Folder::with(
            "none",
            &[
                ("cpu.stat", "usage_usec 1\n"),
                ("cpu.max", "max 100000\n"),
                ("memory.current", "8\n"),
                ("memory.max", "max\n"),
                ("memory.stat", "inactive_file 0\n"),
            ],
        );
        let mut cgroup = Cgroup::new(folder.0.clone());
        cgroup.read(1);
        assert_eq!(cgroup.read(2), Resources::default());
        assert_eq!(Cgroup::new(folder.0.join("missing")).read(1), Resources::default());
    }
}
