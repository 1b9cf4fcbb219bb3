//! Corefiles of the shape that distributions install.

use super::*;

/// The files of the folder `name` below `tests/corefiles` of the workspace.
fn of(name: &str) -> Rules {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corefiles");
    let folder = folder.join(name);
    let known = |path: &std::path::Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        let files = entries.filter_map(|entry| {
            let entry = entry.unwrap();
            let text = std::fs::read_to_string(entry.path()).ok()?;
            Some((entry.file_name().into_string().unwrap(), text))
        });
        Folder::Known(files.collect())
    };
    let files = Files::new([
        ("/etc/coredns".to_owned(), known(&folder)),
        (
            "/etc/coredns/custom".to_owned(),
            known(&folder.join("custom")),
        ),
    ]);
    let text = std::fs::read_to_string(folder.join("Corefile")).unwrap();
    read(&text, &files, None)
}

#[test]
fn distributions_leave_little_to_coredns() {
    for (name, parts, ttl, cache) in [
        ("kubeadm", "", 30, 30),
        ("kind", "", 30, 30),
        ("eks", "", 5, 30),
        ("rke2", "", 30, 30),
        ("openshift", "", 5, 900),
        ("aks", "", 30, 30),
        ("k3s", "reverse", 5, 30),
        ("minikube", "reverse", 30, 30),
    ] {
        let rules = of(name);
        assert_eq!(labels(&rules), parts, "{name}: {:?}", rules.findings);
        let options = rules.options.unwrap();
        assert_eq!(options.zone, "cluster.local.", "{name}");
        assert_eq!(
            (options.ttl, options.cache.unwrap().success.max),
            (ttl, cache),
            "{name}"
        );
        assert!(matches!(rules.reload, Reload::Every(_)), "{name}");
    }
}
