//! Files that are no manifests, or too much of one.

use super::*;

/// The problems of a folder whose other file is served in any case.
fn problems_beside_a_service(files: &[(&str, &str)], make: impl FnOnce(&Path)) -> Vec<String> {
    let folder = folder(files);
    fs::write(folder.path().join("web.yaml"), SERVICE).unwrap();
    make(folder.path());
    let (events, problems) = shown(&load(folder.path(), Keep::default()).unwrap());
    assert!(events.contains(&"+Service default/nginx".to_owned()));
    problems
}

/// A pipe without a writer would be waited for, `/dev/zero` be read for ever.
#[test]
fn only_regular_files_are_read() {
    let problems = problems_beside_a_service(&[], |folder| {
        let pipe = folder.join("pipe.yaml");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        symlink(&pipe, folder.join("to-pipe.json")).unwrap();
        symlink("/dev/zero", folder.join("zero.yaml")).unwrap();
        std::os::unix::net::UnixListener::bind(folder.join("socket.yaml")).unwrap();
        fs::create_dir(folder.join("folder.yaml")).unwrap();
    });
    assert_eq!(
        problems,
        ["pipe.yaml", "socket.yaml", "to-pipe.json", "zero.yaml"]
            .map(|name| format!("{name}: cannot read the file: not a regular file"))
    );
}

#[test]
fn sizes_are_bounded() {
    let comment = "# A comment of 32 bytes, and none.\n";
    let lines = |bytes: u64| comment.repeat(usize::try_from(bytes).unwrap() / comment.len() + 1);
    let file = lines(FILE_MAX);
    let document = format!("{SERVICE}---\n{}", slice("[10.0.0.1]") + &lines(4 << 20));
    let json = format!("{{\"kind\": \"{}\"}}", lines(4 << 20).trim_end());
    let files = [
        ("document.yaml", document.as_str()),
        ("file.yaml", &file),
        ("json.json", &json),
    ];
    assert_eq!(
        problems_beside_a_service(&files, |_| ()),
        [
            "document.yaml document 2: more than 4 MiB, so the document is not read",
            "file.yaml: cannot read the file: more than 16 MiB",
            "json.json document 1: more than 4 MiB, so the document is not read",
            "web.yaml: Service default/nginx: also defined in document.yaml; the later one is used",
        ]
    );
}

/// "Billion laughs", and one long text that is meant many times.
#[test]
fn aliases_count_as_what_they_stand_for() {
    let mut laughs = "a0: &a0 [ha, ha]\n".to_owned();
    for i in 1..40 {
        let before = i - 1;
        let line = format!("a{i}: &a{i} [*a{before}, *a{before}]\n");
        laughs.push_str(&line);
    }
    let text = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(1 << 20),
        "*a,".repeat(1000)
    );
    let deep = "[".repeat(100) + &"]".repeat(100);
    let many = "[".to_owned() + &"0,".repeat(1 << 20) + "]";
    for hostile in [laughs, text, deep, many] {
        let files = [("hostile.yaml", hostile.as_str())];
        let problems = problems_beside_a_service(&files, |_| ());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("hostile.yaml document 1: "));
        assert!(problems[0].contains("budget"), "{problems:?}");
    }
    let modest = format!("labels: &l {{a: b}}\nagain: *l\n{SERVICE}");
    assert_eq!(loaded(&[("a.yaml", &modest)]).1, Vec::<String>::new());
}

#[test]
fn problems_of_a_file_are_bounded() {
    let bad = "---\nc: [\n".repeat(3000);
    let problems = problems_beside_a_service(&[("bad.yaml", &bad)], |_| ());
    assert_eq!(problems.len(), 1001);
    assert!(problems[999].contains("bad.yaml document 1000: "));
    assert!(
        problems[999].ends_with("at line 2000, column 4"),
        "{}",
        problems[999]
    );
    assert_eq!(problems[1000], "bad.yaml: 2000 more (syntax 2000)");
}

/// A problem ends with its cause, also where the file's content is the old one.
#[test]
fn a_file_that_can_be_read_again_has_no_problem() {
    let folder = folder(&[("web.yaml", SERVICE)]);
    let path = folder.path().join("web.yaml");
    let mut manifests = Folder::new(folder.path(), Keep::default());
    manifests.first().unwrap();
    let mut next = || {
        let batch = manifests.refresh().unwrap();
        let about: Vec<_> = batch
            .reports
            .iter()
            .map(|report| report.about.clone())
            .collect();
        (about, shown(&batch))
    };
    fs::remove_file(&path).unwrap();
    symlink("/dev/null", &path).unwrap();
    let unreadable = "web.yaml: cannot read the file: not a regular file".to_owned();
    let about = vec!["web.yaml".to_owned()];
    assert_eq!(next(), (about.clone(), (vec![], vec![unreadable.clone()])));
    fs::remove_file(&path).unwrap();
    fs::write(&path, SERVICE).unwrap();
    assert_eq!(next(), (about, (vec![], vec![])));

    let new = folder.path().join("new.yaml");
    symlink("/dev/null", &new).unwrap();
    let unreadable = unreadable.replace("web", "new");
    let about = vec!["new.yaml".to_owned()];
    assert_eq!(next(), (about.clone(), (vec![], vec![unreadable])));
    fs::remove_file(&new).unwrap();
    assert_eq!(next(), (about, (vec![], vec![])));
}
