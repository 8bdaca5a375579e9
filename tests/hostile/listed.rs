//! The tests that docs/security.md names are there, and it names every class it is to name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

/// Vulnerabilities that rsync 3.5.0 mended, all of 2026.
const CLASSES: [u32; 31] = [
    53783, 53786, 53790, 70460, 53784, 53785, 53788, 53789, 53791, 53792, 53793, 53794, 53795,
    53796, 53797, 53798, 53799, 53800, 53801, 53802, 70452, 70453, 70454, 70455, 70456, 70458,
    70459, 70461, 70462, 70463, 70464,
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn document() -> String {
    fs::read_to_string(root().join("docs/security.md")).unwrap()
}

#[test]
fn every_test_that_the_document_names_is_there() {
    let quoted = Regex::new("`([a-z_0-9/]+\\.rs)`|`([a-z0-9]+(?:_[a-z0-9]+)+)`").unwrap();
    let (mut missing, mut found) = (Vec::new(), 0);
    for row in document().lines().filter(|line| line.starts_with("| ")) {
        let tests = row.rsplit(" | ").next().unwrap();
        let (mut file, mut text) = (String::new(), String::new());
        let mut names = 0;
        for quote in quoted.captures_iter(tests) {
            if let Some(path) = quote.get(1) {
                file = path.as_str().to_owned();
                text = fs::read_to_string(root().join(&file)).unwrap_or_default();
            } else if let Some(name) = quote.get(2) {
                names += 1;
                // Attributes may stand between, and arguments of a property.
                let test = format!(
                    "#\\[(?:tokio::)?test\\]\\s+(?:#\\[[^\\n]*\\]\\s+)*(?:async )?fn {}\\(",
                    name.as_str()
                );
                if !Regex::new(&test).unwrap().is_match(&text) {
                    missing.push(format!("{file}: {}", name.as_str()));
                }
            }
        }
        let is_head = matches!(tests, "tests |" | "---|");
        assert!(names > 0 || is_head, "a row without a test: {row}");
        found += names;
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 80, "{found}");
}

#[test]
fn every_class_is_in_the_document() {
    let document = document();
    let numbers = Regex::new("\\b[0-9]{5}\\b").unwrap();
    let named: BTreeSet<u32> = numbers
        .find_iter(&document)
        .map(|number| number.as_str().parse().unwrap())
        .collect();
    let missing: Vec<_> = CLASSES
        .iter()
        .filter(|class| !named.contains(class))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
