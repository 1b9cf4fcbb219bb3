//! The options, as an operator gives them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use clap::CommandFactory as _;
use headless_ebpf::abi::PodsMode;

use super::*;

fn run(arguments: &[&str]) -> Result<RunArgs, clap::Error> {
    let start = ["headless-agent", "run", "--manifests", "deploy/demo"];
    let cli = Cli::try_parse_from(start.iter().chain(arguments))?;
    match cli.command {
        Command::Run(run) => Ok(*run),
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_are_consistent_and_each_has_a_variable() {
    let mut command = Cli::command();
    command.build();
    command.clone().debug_assert();
    let run = command.find_subcommand("run").unwrap();
    for option in run.get_arguments().filter(|a| a.get_long().is_some()) {
        let long = option.get_long().unwrap();
        if matches!(long, "help" | "version") {
            continue;
        }
        assert_eq!(option.get_short(), None, "{long}");
        let variable = format!("HEADLESS_{}", long.replace('-', "_").to_uppercase());
        assert_eq!(option.get_env().unwrap(), variable.as_str());
    }
}

#[test]
fn defaults_are_kubeadms() {
    let run = run(&[]).unwrap();
    assert_eq!(run.records.zone(), "cluster.local");
    assert_eq!(run.records.ttl(), 30);
    assert_eq!(run.records.pods(), PodsMode::Insecure);
    assert_eq!(run.xdp.lease, Duration::from_secs(30));
    assert_eq!(run.xdp.hook, Hook::Auto);
    assert_eq!((run.xdp.tc_mode, run.xdp.egress_limit), (TcMode::Auto, 500));
    assert_eq!(run.xdp.egress_packets, 50_000);
    assert_eq!(run.records.cluster_dns_service.name, "kube-dns");
}

/// A Corefile that comes later and has neither `forward` nor `chaos` changes no option, so nothing
/// may depend on it.
#[test]
fn other_classes_are_left_to_coredns_until_a_corefile_says_otherwise() {
    let start = ["headless-agent", "run", "--source", "kubernetes"];
    let Command::Run(given) = Cli::try_parse_from(start).unwrap().command else {
        panic!("not `run`");
    };
    let classes = |args: &RunArgs| {
        let settings = args.settings().unwrap();
        let programs = settings.programs.any_class == 1;
        (
            settings.records.any_class,
            programs,
            settings.taken.any_class,
        )
    };
    assert_eq!(classes(&given), (false, false, false));
    for says in [false, true] {
        let mut options = given.settings().unwrap().taken;
        options.any_class = says;
        assert_eq!(classes(&given.with(&options).0), (says, says, says));
    }
}

#[test]
fn the_admin_socket_has_a_path() {
    let socket = |run: RunArgs| run.admin.socket.admin_socket;
    let default = socket(run(&[]).unwrap());
    assert_eq!(default.to_str(), Some("/run/headless/admin.sock"));
    assert!(run(&["--admin-socket", "/a/b"]).is_ok());
    for path in ["", "admin.sock", "@headless", "/"] {
        let error = run(&["--admin-socket", path]).unwrap_err().to_string();
        assert!(error.contains("absolute path"), "{path}: {error}");
    }
}

#[test]
fn the_uplink_is_served_where_interfaces_are_named() {
    let serves = |arguments: &[&str]| run(arguments).unwrap().xdp.serve_uplink;
    assert!(!serves(&["--interface", "eth*"]));
    assert!(serves(&["--interface", "eth*", "--serve-uplink"]));
    assert_eq!(run(&["--lease", "5m"]).unwrap().xdp.lease, LEASE_MAX);
}

#[test]
fn listen_addresses_have_dns_port_unless_given() {
    let run = run(&[
        "--listen",
        "169.254.20.10",
        "--listen",
        "[fd00::10]:5353",
        "--listen-unserved",
        "fd00::11",
    ])
    .unwrap();
    let expected: Vec<SocketAddr> = ["169.254.20.10:53", "[fd00::10]:5353"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!(run.listen.listen, expected);
    assert_eq!(
        run.listen.listen_unserved,
        ["[fd00::11]:53".parse().unwrap()]
    );
}

#[test]
fn what_cannot_work_is_refused() {
    for bad in [
        ["--listen", "0.0.0.0"],
        ["--listen", "kube-dns"],
        ["--lease", "1s"],
        ["--lease", "soon"],
        ["--lease", "301s"],
        ["--serve-uplink", "--hook=xdp"],
        ["--source-max-age-deny", "9s"],
        ["--ttl", "3601"],
        ["--cluster-dns-service", "kube-dns"],
        ["--max-map-memory", "much"],
        ["--hook", "native"],
        ["--egress-limit", "0"],
        ["--egress-packets", "0"],
    ] {
        assert!(run(&bad).is_err(), "{bad:?}");
    }
}

/// The kind of source that these arguments mean.
fn kind(arguments: &[&str], in_cluster: bool) -> Result<SourceKind, String> {
    let start = ["headless-agent", "run"];
    let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
    match cli.command {
        Command::Run(run) => run
            .source
            .kind(in_cluster)
            .map_err(|error| error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_source_follows_from_what_is_given() {
    use SourceKind::{Kubernetes, Manifests};
    assert_eq!(kind(&[], true), Ok(Kubernetes));
    assert_eq!(kind(&["--manifests", "x"], true), Ok(Manifests));
    assert_eq!(kind(&["--manifests", "x"], false), Ok(Manifests));
    assert_eq!(kind(&["--source", "kubernetes"], false), Ok(Kubernetes));
    assert_eq!(kind(&["--kubeconfig", "x"], false), Ok(Kubernetes));
    assert_eq!(kind(&["--api-server", "https://x"], false), Ok(Kubernetes));
}

/// A folder is read whole, so every endpoint has its names. Where the source is an API server,
/// the cluster's size decides.
#[test]
fn the_source_decides_which_endpoints_have_names() {
    use SourceKind::{Kubernetes, Manifests};
    let scopes = |arguments: &[&str]| {
        let start = ["headless-agent", "run"];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("not `run`");
        };
        [Kubernetes, Manifests].map(|source| run.records.endpoints(source))
    };
    let (headless, all) = (EndpointScope::Headless, EndpointScope::All);
    assert_eq!(scopes(&[]), [headless, all]);
    assert_eq!(scopes(&["--endpoints", "headless"]), [headless; 2]);
    assert_eq!(scopes(&["--endpoints", "all"]), [all; 2]);
    assert_eq!(scopes(&["--endpoints", "auto"]), [headless, all]);
    let bound = |arguments: &[&str]| {
        let start = ["headless-agent", "run", "--source", "kubernetes"];
        let cli = Cli::try_parse_from(start.iter().chain(arguments)).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("not `run`");
        };
        match run.settings().unwrap().source {
            crate::config::Source::Kubernetes { slices_max, .. } => slices_max,
            other @ crate::config::Source::Manifests { .. } => panic!("{other:?}"),
        }
    };
    assert_eq!(bound(&["--endpoints-max", "7"]), Some(7));
    assert_eq!(bound(&["--endpoints", "all", "--endpoints-max", "7"]), None);
    assert_eq!(bound(&["--endpoints", "headless"]), None);
}

#[test]
fn contradictions_are_told() {
    let error = |arguments: &[&str]| kind(arguments, false).unwrap_err();
    assert!(error(&[]).contains("not in a cluster"));
    assert!(error(&["--source", "manifests"]).contains("--manifests is missing"));
    let both = ["--source", "kubernetes", "--manifests", "x"];
    assert!(error(&both).contains("the source is the API server"));
    let both = ["--manifests", "x", "--context", "y"];
    assert!(error(&both).contains("options of the API server"));
}

#[test]
fn pods_are_chosen_by_label_and_their_node_is_named() {
    let server = ["headless-agent", "run", "--api-server", "https://192.0.2.1"];
    let settings = |arguments: &[&str]| {
        let cli = Cli::try_parse_from(server.iter().chain(arguments)).unwrap();
        match cli.command {
            Command::Run(run) => {
                let dns = &run.records.cluster_dns_service;
                run.policy.settings(SourceKind::Kubernetes, dns)
            }
            other => panic!("{other:?}"),
        }
    };
    let plain = settings(&[]).unwrap();
    assert!(plain.selection.is_none() && plain.rules.selectors.is_empty());
    let node = ["--node-name", "node-1.example"];
    let selectors = [
        "--mode-selector",
        "off=app=a,tier!=b;observe=!c",
        "--mode-selector",
        "on=d",
    ];
    let found = settings(&[&node[..], &selectors].concat()).unwrap();
    assert_eq!(found.selection.unwrap().node, "node-1.example");
    let found = found.rules.selectors;
    let modes: Vec<_> = found.iter().map(|(mode, _)| mode.label()).collect();
    assert_eq!(modes, ["off", "observe", "on"]);
    assert_eq!(found[1].1, "!c".parse().unwrap());
    let error = settings(&selectors).unwrap_err().to_string();
    assert!(error.contains("--node-name is missing"), "{error}");
    let error = settings(&["--respect-network-policies"]).unwrap_err();
    assert!(
        error.to_string().contains("--node-name is missing"),
        "{error}"
    );
    let found = settings(&[&node[..], &["--respect-network-policies"]].concat()).unwrap();
    let about = found.rules.respect_policies_about.unwrap();
    assert_eq!(
        (&*about.namespace, &*about.name),
        ("kube-system", "kube-dns")
    );
    assert_eq!(found.selection.unwrap().policies_about, Some(about.clone()));
    let error = run(&node)
        .unwrap()
        .policy
        .settings(SourceKind::Manifests, &about);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("the source is a folder"), "{error}");
    for (option, value, expected) in [
        ("--mode-selector", "app", "expected MODE=SELECTOR"),
        (
            "--mode-selector",
            "app=legacy",
            "is none of on, observe, off",
        ),
        (
            "--mode-selector",
            "off=a in b",
            "no requirement of a label selector",
        ),
        ("--node-name", "a,b", "no name of a node"),
        ("--node-name", "", "no name of a node"),
        ("--mode", "Off", "possible values: on, observe, off"),
    ] {
        let error = run(&[option, value]).unwrap_err().to_string();
        assert!(error.contains(expected), "{value}: {error}");
    }
}
