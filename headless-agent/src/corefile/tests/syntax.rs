//! Words, blocks, snippets and imports.

use super::super::address::DNS_PORT;
use super::super::lex::lex;
use super::super::parse::parse;
use super::*;

fn words(text: &str) -> Vec<(usize, String)> {
    let tokens = lex(text, &PATH.into());
    let word = |it: &super::super::token::Token| (it.place.line, it.text.to_string());
    tokens.iter().map(word).collect()
}

fn texts(text: &str) -> Vec<String> {
    words(text).into_iter().map(|(_, text)| text).collect()
}

#[test]
fn words_are_split_as_coredns_splits_them() {
    assert_eq!(texts("\u{feff}a  b\tc\r\nd"), ["a", "b", "c", "d"]);
    assert_eq!(texts("a # b c\nd"), ["a", "d"]);
    assert_eq!(
        texts("a#b c"),
        ["a", "c"],
        "a comment behind a word ends at a space"
    );
    assert_eq!(
        texts(r#""a b" "c\"d" "e\f" g"h"#),
        ["a b", "c\"d", "e\\f", "g\"h"]
    );
    assert_eq!(texts("\"\" \"open\nend"), ["", "open\nend"]);
    assert_eq!(texts("a\""), ["a\""]);
    assert_eq!(
        words("a\n\"b\nc\" d\ne"),
        [
            (1, "a".into()),
            (2, "b\nc".into()),
            (3, "d".into()),
            (4, "e".into())
        ]
    );
}

/// The blocks in short: keys, and the words of each plugin.
fn blocks(text: &str, files: &Files) -> Result<Vec<String>, String> {
    let blocks = parse(text, files).map_err(|error| error.to_string())?;
    let join = |tokens: &[super::super::token::Token]| {
        let texts: Vec<_> = tokens.iter().map(|it| it.text.to_string()).collect();
        texts.join(" ")
    };
    let block = |it: &super::super::parse::ServerBlock| {
        let plugins: Vec<_> = it.plugins.iter().map(|it| join(&it.tokens)).collect();
        format!("{} -> {}", join(&it.keys), plugins.join("; "))
    };
    Ok(blocks.iter().map(block).collect())
}

#[test]
fn blocks_have_keys_and_plugins() {
    let read = |text| blocks(text, &Files::default()).unwrap();
    assert_eq!(read(""), Vec::<String>::new());
    assert_eq!(read(". {\nerrors\n}"), [". -> errors"]);
    assert_eq!(
        read(".:53\nerrors\nlog a"),
        [".:53 -> errors; log a"],
        "no braces"
    );
    assert_eq!(
        read("a,\n b c {\nerrors\n}\nd {\n}"),
        ["a b c -> errors", "d -> "]
    );
    assert_eq!(read("a b, c {\n}"), ["a b c -> "]);
    assert_eq!(read("a"), ["a -> "]);
    assert_eq!(
        read(". {\nlog a\nforward . b {\n c d\n}\nlog e\n}"),
        [". -> log a log e; forward . b { c d }"]
    );
}

#[test]
fn snippets_and_files_are_imported() {
    let folder = |names: [(&str, &str); 2]| {
        let files = names.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Folder::Known(files.into_iter().collect())
    };
    let files = Files::new([(
        "/etc/coredns/custom".to_owned(),
        folder([
            ("a.override", "log a\nimport b.part\n"),
            ("b.part", "rewrite name a b\n"),
        ]),
    )]);
    let read = |text| blocks(text, &files);
    assert_eq!(
        read("(s) {\nlog x\nforward . y {\nz\n}\n}\n. {\nimport s\nerrors\n}").unwrap(),
        [". -> log x; forward . y { z }; errors"]
    );
    assert_eq!(
        read("(s) {\n}\n. {\nimport s\nimport custom/*.override\nerrors\n}").unwrap(),
        [". -> log a; rewrite name a b; errors"]
    );
    assert_eq!(
        read(". {\nforward . a {\nimport custom/b.part\n}\nimport custom/*.none\n}").unwrap(),
        [". -> forward . a { rewrite name a b }"]
    );
    assert_eq!(
        read("import custom/*.none\n. {\n}\nimport custom/*.none\n").unwrap(),
        [". -> "]
    );
    for (text, error) in [
        (
            "(s) {\n}\n(s) {\n}",
            "line 3 of Corefile, at `(s)`: the snippet is declared twice",
        ),
        (
            "(s) {\nimport s\n}\n. {\nimport s\n}",
            "line 2 of Corefile, at `s`: more than 1000 imports",
        ),
        (
            ". {\nimport custom/none\n}",
            "line 2 of Corefile, at `custom/none`: the folder \
          /etc/coredns/custom has no file none",
        ),
        (
            ". {\nimport\n}",
            "line 2 of Corefile, at `import`: an import needs a path",
        ),
        (
            ". {\nimport a b\n}",
            "line 2 of Corefile, at `a`: an import has one path",
        ),
        (
            ". {\nimport {$FILES}\n}",
            "line 2 of Corefile, at `{$FILES}`: the value of the \
          variable FILES is not known",
        ),
        (
            ". {\nimport /x/y\n}",
            "line 2 of Corefile, at `/x/y`: no ConfigMap is known for the \
          folder /x: --corefile-import names it",
        ),
    ] {
        assert_eq!(read(text), Err(error.to_owned()), "{text}");
    }
}

#[test]
fn errors_name_line_and_word() {
    for (text, error) in [
        (
            ". {\nerrors\n",
            "line 2 of Corefile, at `errors`: the server block has no closing brace",
        ),
        (
            ". {\nlog {\na\n",
            "line 3 of Corefile, at `a`: the plugin's block has no closing brace",
        ),
        (
            ". {\nlog }\n}",
            "line 2 of Corefile, at `}`: there is no opening brace for this one",
        ),
        (
            "a, {\n}",
            "line 1 of Corefile, at `{`: another address should follow the comma",
        ),
        (
            "a,",
            "line 1 of Corefile, at `a,`: another address should follow the comma",
        ),
        (
            "(a)\nb",
            "line 2 of Corefile, at `b`: a snippet needs an opening brace",
        ),
        (
            "{$A}:53 {\n}",
            "line 1 of Corefile, at `{$A}:53`: the value of the variable A is not known",
        ),
    ] {
        assert_eq!(
            blocks(text, &Files::default()),
            Err(error.to_owned()),
            "{text}"
        );
    }
    let long = "a ".repeat(BYTES_MAX / 2 + 1);
    assert!(blocks(&long, &Files::default()).is_err());
    let many = "a ".repeat(40_000);
    let error = blocks(&many, &Files::default()).unwrap_err();
    assert!(error.ends_with("more than 32768 words"), "{error}");
    assert_eq!(DNS_PORT, 53);
}

#[test]
fn a_corefile_that_cannot_be_parsed_leaves_everything_to_coredns() {
    for text in [
        ". {",
        "a..b:53 {\n kubernetes\n}",
        ". {\n kubernetes cluster.local {\n pods many\n }\n}",
        ". {\n kubernetes cluster.local\n kubernetes cluster.local\n}",
    ] {
        let rules = rules(text);
        assert_eq!((rules.parts(), rules.options), (Parts::ALL, None), "{text}");
    }
}
