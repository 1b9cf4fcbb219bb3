//! How much memory the maps may take if the operator sets no bound.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::system::sysinfo;

/// If no memory cgroup has a limit, the maps may take this part of the machine's memory: a
/// sixteenth.
const OF_MACHINE: u64 = 16;

/// The default of `--max-map-memory` in bytes: half of the limit of the agent's memory
/// cgroup, because the kernel charges maps to this cgroup (from kernel 5.11 on). If no limit
/// is set, a sixteenth of the machine's memory.
pub fn default_bound() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = limit(&groups, Path::new("/sys/fs/cgroup"));
    limit.map_or_else(|| machine() / OF_MACHINE, |limit| limit / 2)
}

/// Memory of the machine in bytes.
fn machine() -> u64 {
    let info = sysinfo();
    info.totalram.saturating_mul(info.mem_unit.into())
}

/// The lowest limit in bytes of a process's memory cgroup and of the cgroups above it.
/// `groups` is the content of `/proc/PID/cgroup` (cgroups(7)), `mount` the folder where
/// cgroups are mounted.
fn limit(groups: &str, mount: &Path) -> Option<u64> {
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        match (fields.next()?, fields.next()?) {
            ("", path) => Some((mount.to_path_buf(), path, "memory.max")),
            (controllers, path) => controllers
                .split(',')
                .any(|controller| controller == "memory")
                .then(|| (mount.join("memory"), path, "memory.limit_in_bytes")),
        }
    });
    let (mount, path, file) = path?;
    let group: PathBuf = mount.join(path.trim_start_matches('/'));
    // The limits of the groups above hold, too. In a container the path may lead out of
    // the mounted part of the hierarchy.
    let groups = group.ancestors().filter(|group| group.starts_with(&mount));
    let limits = groups.filter_map(|group| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        // Without a limit version 2 has `max`, and version 1 a number close to 2^63.
        text.trim().parse().ok().filter(|limit| *limit < 1 << 60)
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn mount(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn the_lowest_limit_counts() {
        let folder = mount(&[
            ("pods/memory.max", "1000\n"),
            ("pods/agent/memory.max", "max\n"),
            ("other/memory.max", "1\n"),
        ]);
        assert_eq!(limit("0::/pods/agent\n", folder.path()), Some(1000));
        assert_eq!(limit("0::/\n", folder.path()), None);
        assert_eq!(limit("", folder.path()), None);
    }

    #[test]
    fn version_1_has_a_folder_for_memory() {
        let folder = mount(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/agent/memory.limit_in_bytes", "77\n"),
        ]);
        let groups = "5:cpu,cpuacct:/agent\n4:hugetlb,memory:/agent\n";
        assert_eq!(limit(groups, folder.path()), Some(77));
        assert_eq!(limit("4:memory:/\n", folder.path()), None);
    }

    #[test]
    fn a_machine_has_memory() {
        assert!(machine() > 1 << 20);
        assert!(default_bound() > 0);
    }
}
