//! The script that a guest runs.

use std::fmt::Write as _;

/// Modules of Debian's kernels that attachments and the suites' bridges need. Each stands
/// behind the modules that it depends on.
pub(super) const MODULES: [&str; 6] = ["veth", "sch_ingress", "cls_bpf", "llc", "stp", "bridge"];

/// The begin of each line that the script itself writes. The suites write all other lines.
pub(super) const MARK: &str = "xtask: ";

/// Pattern of the kernel's complaints in its log.
const SPLATS: &str = "] (WARNING|BUG|KASAN|UBSAN|Oops|general protection)[: ]";

/// The longest wait of the suites in seconds. 300 were not enough for the 30,000 endpoints of
/// `live_admin` where other programs left a guest two fifths of a CPU.
const PATIENCE: u32 = 600;

/// The guest's /init. It runs the suites one after the other, then prints the kernel's
/// complaints. Nothing is mounted on /tmp, because the checkout may be there, and the
/// suites know its path.
pub(super) fn script<'a>(suites: impl Iterator<Item = &'a str>) -> String {
    let mut script = format!(
        "#!/bin/sh\n\
         b=/bin/busybox\n\
         $b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys\n\
         $b mount -t devtmpfs devtmpfs /dev\n\
         $b --install -s /bin\n\
         export HEADLESS_TEST_DEADLINE={PATIENCE}\n\
         export PATH=/usr/bin:/bin HOME=/tmp HEADLESS_BPF_DIR=/bpf HEADLESS_AGENT=/agent\n\
         say() {{ echo; echo \"{MARK}$*\"; }}\n\
         say release $(uname -r)\n\
         for name in {}; do insmod /modules/$name.ko || say no module $name; done\n\
         /usr/bin/ip link set lo up\n",
        MODULES.join(" ")
    );
    for suite in suites {
        // One test at a time, since the guest has one CPU. These suites print counts, which
        // only --nocapture shows.
        let show = if ["executed", "verifier"].contains(&suite) {
            " --nocapture"
        } else {
            ""
        };
        let _infallible = writeln!(
            script,
            "say suite {suite}; /suites/{suite} --test-threads 1{show} 2>&1; say end $?"
        );
    }
    let _infallible = writeln!(
        script,
        "dmesg | grep -E '{SPLATS}' | while read -r line; do say splat \"$line\"; done\n\
         say done\npoweroff -f"
    );
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_runs_every_suite() {
        let script = script(["golden", "verifier"].into_iter());
        assert!(script.starts_with("#!/bin/sh\n"));
        assert!(script.contains("/suites/golden --test-threads 1 2>&1"));
        assert!(script.contains("/suites/verifier --test-threads 1 --nocapture 2>&1"));
        assert!(script.ends_with("poweroff -f\n"));
    }
}
