//! The arrows between the crates, as ARCHITECTURE.md draws them.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// Each room with the rooms it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("delta", &[]),
    ("fs", &["types"]),
    ("native", &["types", "delta"]),
    ("rsync", &["types", "delta"]),
    ("blockrsync", &[]),
    ("net", &[]),
    (
        "barge",
        &["types", "delta", "fs", "native", "rsync", "blockrsync"],
    ),
    ("agent", &["types", "net", "barge"]),
];

/// Crates that only some rooms may name, by the beginning of their names.
const OUTSIDERS: &[(&str, &[&str])] = &[
    ("rustls", &["net"]),
    ("tokio-rustls", &["net"]),
    ("rcgen", &["net"]),
    ("clap", &["agent"]),
    ("anyhow", &["agent"]),
    ("tokio", &["net", "barge", "agent"]),
];

const WORKSHOP: &str = "testkit";

#[test]
fn crates_depend_only_on_the_floors_below() {
    for (room, may) in ARROWS {
        let uses = rooms_in(&manifest(room), "dependencies");
        let may: BTreeSet<String> = may.iter().map(ToString::to_string).collect();
        assert!(
            uses.is_subset(&may),
            "{room} uses {uses:?}, may use {may:?}"
        );
    }
}

#[test]
fn every_crate_stands_on_the_floor_plan() {
    let rooms = fs::read_dir(crates())
        .unwrap()
        .map(|e| e.unwrap().file_name());
    let built: BTreeSet<String> = rooms.map(|name| name.into_string().unwrap()).collect();
    let drawn = ARROWS.iter().map(|(room, _)| *room).chain([WORKSHOP]);
    assert_eq!(built, drawn.map(str::to_owned).collect());
}

#[test]
fn testkit_is_only_ever_a_dev_dependency() {
    for (room, _) in ARROWS {
        let manifest = manifest(room);
        for table in ["dependencies", "build-dependencies"] {
            let uses = rooms_in(&manifest, table);
            assert!(!uses.contains(WORKSHOP), "{room} has it among its {table}");
        }
    }
}

#[test]
fn outside_crates_are_named_only_in_their_rooms() {
    for (room, _) in ARROWS {
        for name in names_in(&manifest(room), "dependencies") {
            let known = OUTSIDERS.iter().find(|(outsider, _)| *outsider == name);
            let may = known.is_none_or(|(_, rooms)| rooms.contains(room));
            assert!(may, "{room} names {name}");
        }
    }
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn manifest(room: &str) -> Table {
    let path = crates().join(room).join("Cargo.toml");
    fs::read_to_string(&path).unwrap().parse().unwrap()
}

fn names_in(manifest: &Table, table: &str) -> BTreeSet<String> {
    let table = manifest.get(table).and_then(|d| d.as_table());
    table.into_iter().flat_map(|d| d.keys().cloned()).collect()
}

/// The crates of ours a table names, by their folders.
fn rooms_in(manifest: &Table, table: &str) -> BTreeSet<String> {
    let names = names_in(manifest, table).into_iter();
    let ours = names.filter(|name| name == "barge" || name.starts_with("barge-"));
    ours.map(|name| name.trim_start_matches("barge-").to_owned())
        .collect()
}
