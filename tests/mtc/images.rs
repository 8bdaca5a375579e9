//! The two images: ours, and what stock rsync, stunnel and bash make of the same places.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use barge_testkit::mover::program;

use crate::node::{Node, said};

/// Whose image a pod runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Image {
    Ours,
    Stock,
}

impl Image {
    /// Its name on a node that has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "localhost/ours:test",
            Self::Stock => "localhost/stock:test",
        }
    }

    /// Makes it on the node: ours is the image that `BARGE_IMAGE` names, or the layout of
    /// `images/` around the program that the other tests run.
    ///
    /// # Errors
    ///
    /// With what podman said.
    pub(crate) fn make(self, node: &Node) -> io::Result<()> {
        let place = node
            .place()
            .dir(self.name().split(['/', ':']).nth(1).unwrap_or_default())?;
        match (self, std::env::var_os("BARGE_IMAGE")) {
            (Self::Ours, Some(image)) => {
                let archive = place.join("image.tar");
                said(
                    Command::new("podman")
                        .args(["save", "--quiet", "--output"])
                        .arg(&archive)
                        .arg(&image),
                )?;
                node.podman(&["load", "--quiet", "--input", &archive.to_string_lossy()])?;
                node.podman(&["tag", &image.to_string_lossy(), self.name()])?;
            }
            (Self::Ours, None) => {
                ours(&place.join("rootfs")).unwrap();
                self.build(node, &place)?;
            }
            (Self::Stock, _) => {
                stock(&place.join("rootfs")).unwrap();
                self.build(node, &place)?;
            }
        }
        fs::remove_dir_all(place)
    }

    fn build(self, node: &Node, place: &Path) -> io::Result<()> {
        let file = images().join("Containerfile");
        let (file, place) = (file.to_string_lossy(), place.to_string_lossy());
        node.podman(&[
            "build",
            "--quiet",
            "--tag",
            self.name(),
            "--file",
            &file,
            &place,
        ])?;
        Ok(())
    }
}

/// The image's files around a program that is not static, with the libraries it needs.
fn ours(root: &Path) -> io::Result<()> {
    let program = program()?;
    said(
        Command::new(images().join("rootfs.sh"))
            .arg(&program)
            .arg(root),
    )?;
    libraries(&[program], root)
}

/// The programs of Debian's packages by the names that the pods call.
fn stock(root: &Path) -> io::Result<()> {
    for directory in ["usr/bin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::create_dir(root.join("etc"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/bash\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    for directory in ["bin", "lib", "lib64"] {
        symlink(format!("usr/{directory}"), root.join(directory))?;
    }
    let mut programs = Vec::new();
    for (name, program) in STOCK {
        fs::copy(program, root.join("usr/bin").join(name))?;
        programs.push(PathBuf::from(program));
    }
    libraries(&programs, root)
}

/// Copies the shared libraries of programs to where they are on this machine.
fn libraries(programs: &[PathBuf], root: &Path) -> io::Result<()> {
    let mut needed = BTreeSet::new();
    for program in programs {
        // It fails for a program that is static.
        let output = Command::new("ldd").arg(program).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = text.split_whitespace().filter(|word| word.starts_with('/'));
        needed.extend(words.map(PathBuf::from));
    }
    // The C library opens it where a thread ends.
    let beside = needed.iter().find(|library| library.ends_with("libc.so.6"));
    if let Some(library) = beside.map(|library| library.with_file_name("libgcc_s.so.1")) {
        needed.insert(library);
    }
    for library in needed {
        let to = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(&library, to)?;
    }
    Ok(())
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../images")
}

const STOCK: &[(&str, &str)] = &[
    ("bash", "/bin/bash"),
    ("rsync", "/usr/bin/rsync"),
    ("stunnel", "/usr/bin/stunnel4"),
    ("nc", "/bin/nc.openbsd"),
    ("touch", "/usr/bin/touch"),
    ("sleep", "/usr/bin/sleep"),
    ("test", "/usr/bin/test"),
];
