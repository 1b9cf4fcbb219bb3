//! The tables of layers in ARCHITECTURE.md, one for each package: the only
//! place where the order of modules is written down.

use anyhow::{Result, bail, ensure};

/// The start of the comment before a table. The package's name and ` -->` follow.
const MARK: &str = "<!-- layers of ";

/// One row: modules that read only from the rows above it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The modules' paths by names: `["maps", "kernel"]`.
    pub(super) modules: Vec<Vec<String>>,
    /// Foreign crates that no row may name unless it lists them.
    pub(super) crates: Vec<String>,
}

/// The layers of one package, lowest first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layers {
    pub(super) package: String,
    pub(super) rows: Vec<Row>,
}

/// Reads all tables. The first column has the modules and the last one the
/// crates, each in backticks.
///
/// # Errors
/// When a mark is not followed by a table, or a row names no module.
pub(super) fn read(text: &str) -> Result<Vec<Layers>> {
    let mut tables = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(package) = line.strip_prefix(MARK) else {
            continue;
        };
        let Some(package) = package.strip_suffix(" -->") else {
            bail!("{line:?} does not end with \" -->\"");
        };
        let table = lines.by_ref().skip_while(|line| line.is_empty());
        let rows: Vec<_> = table.take_while(|line| line.starts_with('|')).collect();
        // The head, and the line below it.
        let rows = rows.get(2..).unwrap_or_default();
        ensure!(!rows.is_empty(), "no table follows {line:?}");
        let rows = rows.iter().map(|row| self::row(row));
        tables.push(Layers {
            package: package.to_owned(),
            rows: rows.collect::<Result<_>>()?,
        });
    }
    Ok(tables)
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<_> = line.trim_matches('|').split('|').collect();
    let modules = quoted(cells.first().unwrap_or(&""));
    let crates = quoted(cells.last().unwrap_or(&""));
    ensure!(!modules.is_empty(), "{line:?} names no module");
    let path = |module: &str| module.split("::").map(str::to_owned).collect();
    Ok(Row {
        modules: modules.into_iter().map(path).collect(),
        crates: crates.into_iter().map(str::to_owned).collect(),
    })
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

impl Layers {
    /// The row of a module, and the path in that row. It is the longest path in the table
    /// with which the module's own path begins.
    pub(super) fn row(&self, module: &[String]) -> Option<(usize, &[String])> {
        let listed = self.listed();
        let holds = listed.filter(|(_, path)| module.starts_with(path));
        holds.max_by_key(|(_, path)| path.len())
    }

    /// All modules of the table, each with the number of its row.
    pub(super) fn listed(&self) -> impl Iterator<Item = (usize, &[String])> {
        let rows = self.rows.iter().enumerate();
        rows.flat_map(|(number, row)| {
            row.modules
                .iter()
                .map(move |path| (number, path.as_slice()))
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const TEXT: &str = "Prose with `names`.\n\n<!-- layers of x -->\n\n\
        | Module | What it knows | Crates |\n| --- | --- | --- |\n\
        | `watch`, `names` | `Objects` | `kube` |\n| `maps` | Bytes | |\n\
        | `maps::kernel` | Maps | `aya`, `aya_obj` |\n\nMore | prose\n";

    fn words(path: &str) -> Vec<String> {
        path.split("::").map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_read_from_the_text() {
        let tables = read(TEXT).unwrap();
        let [layers] = &tables[..] else {
            panic!("{tables:?}");
        };
        assert_eq!(layers.package, "x");
        assert_eq!(layers.rows.len(), 3);
        assert_eq!(layers.rows[0].modules, [words("watch"), words("names")]);
        assert_eq!(layers.rows[0].crates, ["kube"]);
        assert!(layers.rows[1].crates.is_empty());
        assert_eq!(layers.rows[2].crates, ["aya", "aya_obj"]);
    }

    #[test]
    fn a_modules_row_is_that_of_the_longest_path() {
        let layers = read(TEXT).unwrap().remove(0);
        let row = |path: &str| Some(layers.row(&words(path))?.0);
        assert_eq!(row("maps::encode"), Some(1));
        assert_eq!(row("maps::kernel::values"), Some(2));
        assert_eq!(row("names"), Some(0));
        assert_eq!(row("mapsx"), None);
    }

    #[test]
    fn a_mark_without_a_table_is_an_error() {
        assert!(read("<!-- layers of x -->\n\nProse\n").is_err());
        assert!(read("<!-- layers of x\n").is_err());
        assert!(read("<!-- layers of x -->\n| a |\n| --- |\n| maps |\n").is_err());
    }
}
