//! Files that are not worth to be compressed, by their suffix.

/// The default of rsync(1), «--skip-compress».
const DEFAULT: &str = "3g2/3gp/7z/aac/ace/apk/avi/bz2/deb/dmg/ear/f4v/flac/flv/gpg/gz/iso/jar/jpeg/\
    jpg/lrz/lz/lz4/lzma/lzo/m1a/m1v/m2a/m2ts/m2v/m4a/m4b/m4p/m4r/m4v/mka/mkv/mov/mp1/mp2/mp3/mp4/mpa/\
    mpeg/mpg/mpv/mts/odb/odf/odg/odi/odm/odp/ods/odt/oga/ogg/ogm/ogv/ogx/opus/otg/oth/otp/ots/ott/oxt/\
    png/qt/rar/rpm/rz/rzip/spx/squashfs/sxc/sxd/sxg/sxm/sxw/sz/tbz/tbz2/tgz/tlz/ts/txz/tzo/vob/war/\
    webm/webp/xz/z/zip/zst";

/// A list of suffixes. It has no effect on what the peer does.
pub struct SkipCompress {
    suffixes: Vec<Vec<Class>>,
}

/// The letters that one place of a suffix may have.
struct Class(Vec<u8>);

impl SkipCompress {
    /// Suffixes without their dot, separated by slashes; letters in brackets are a choice.
    pub fn new(list: &[u8]) -> Self {
        let suffixes = list.split(|&byte| byte == b'/');
        Self {
            suffixes: suffixes.filter(|s| !s.is_empty()).map(classes).collect(),
        }
    }

    /// Whether a file of this name has one of the suffixes, in any case.
    pub fn matches(&self, name: &[u8]) -> bool {
        let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else {
            return false;
        };
        let suffix = name[dot + 1..].to_ascii_lowercase();
        self.suffixes.iter().any(|classes| {
            let mut places = classes.iter().zip(&suffix);
            classes.len() == suffix.len() && places.all(|(class, byte)| class.0.contains(byte))
        })
    }
}

/// The suffixes of rsync(1).
impl Default for SkipCompress {
    fn default() -> Self {
        Self::new(DEFAULT.as_bytes())
    }
}

fn classes(suffix: &[u8]) -> Vec<Class> {
    let mut rest = suffix;
    let mut classes = Vec::new();
    while let Some((&first, behind)) = rest.split_first() {
        let end = behind.iter().position(|&byte| byte == b']');
        let (class, behind) = match end {
            Some(end) if first == b'[' => (&behind[..end], &behind[end + 1..]),
            _ => (&rest[..1], behind),
        };
        classes.push(Class(class.to_ascii_lowercase()));
        rest = behind;
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_matched_whole_and_by_class() {
        let list = SkipCompress::new(b"gz/jpg/mp[34]/7z//[x");
        for (name, skipped) in [
            ("a.gz", true),
            ("a.b.JPG", true),
            ("dir.x/a.mp3", true),
            ("a.mp4", true),
            ("a.mp5", false),
            ("a.mp34", false),
            ("gz", false),
            ("a.tgz", false),
            ("a.gz.txt", false),
            ("a.", false),
            ("", false),
            ("a.[x", true),
        ] {
            assert_eq!(list.matches(name.as_bytes()), skipped, "{name}");
        }
        assert!(!SkipCompress::new(b"").matches(b"a.gz"));
    }

    #[test]
    fn default_is_that_of_the_manual() {
        let list = SkipCompress::default();
        for suffix in ["3g2", "m2ts", "squashfs", "zst", "otg", "webm"] {
            assert!(list.matches(format!("a.{suffix}").as_bytes()), "{suffix}");
        }
        assert!(!list.matches(b"a.txt"));
        assert_eq!(list.suffixes.len(), 96);
    }
}
