//! How much memory this process may take.
//!
//! Source: the kernel's `cgroup-v2.rst` and `cgroup-v1/memory.rst`, `getrlimit(2)`, `proc_meminfo(5)`.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit};

/// Bytes that this process may take before it is refused more or killed: what its cgroups, its resource
/// limits and the machine leave it. Found out once.
pub fn memory_limit() -> u64 {
    static LIMIT: OnceLock<u64> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let limits = [of_cgroups(), of_process(), of_machine()];
        // A machine that does not tell has what the least of them have.
        limits.into_iter().flatten().min().unwrap_or(1 << 30)
    })
}

fn of_cgroups() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    least_of_cgroups(&groups, Path::new("/sys/fs/cgroup"))
}

/// The least limit of the groups in the text of `/proc/self/cgroup`, and of those above them. In a
/// container the path may be the host's, and only its top be there.
fn least_of_cgroups(groups: &str, mount: &Path) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next(), fields.next());
        let is_memory =
            controllers.is_some_and(|names| names.split(',').any(|name| name == "memory"));
        let (mount, file) = match controllers {
            Some("") => (mount.to_owned(), "memory.max"),
            _ if is_memory => (mount.join("memory"), "memory.limit_in_bytes"),
            _ => return Vec::new(),
        };
        let path = Path::new(path.unwrap_or_default().trim_start_matches('/'));
        let limit = |group: &Path| {
            let text = fs::read_to_string(mount.join(group).join(file)).ok()?;
            text.trim().parse().ok()
        };
        path.ancestors().filter_map(limit).collect()
    });
    limits.min()
}

fn of_process() -> Option<u64> {
    let limit = |resource| getrlimit(resource).ok().map(|(soft, _)| soft);
    let limits = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA].map(limit);
    limits.into_iter().flatten().min()
}

fn of_machine() -> Option<u64> {
    total_in(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn total_in(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files of these contents.
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
    fn the_least_limit_of_all_groups_counts() {
        let unified = mount(&[
            ("a/memory.max", "4096\n"),
            ("a/b/memory.max", "max\n"),
            ("memory/c/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.limit_in_bytes", "8192\n"),
        ]);
        for (groups, limit) in [
            ("0::/a/b\n", Some(4096)),
            ("0::/\n", None),
            ("0::/elsewhere/a\n", None),
            ("4:memory:/c\n0::/\n", Some(8192)),
            ("3:cpu,memory:/not/here\n", Some(8192)),
            ("3:cpu:/a\n", None),
            ("", None),
        ] {
            assert_eq!(least_of_cgroups(groups, unified.path()), limit, "{groups}");
        }
    }

    #[test]
    fn the_machine_s_memory_is_in_its_own_words() {
        assert_eq!(
            total_in("MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            Some(1 << 20)
        );
        assert_eq!(total_in("MemFree: 1 kB\n"), None);
        let limit = memory_limit();
        assert!(limit >= 1 << 20, "{limit}");
    }
}
