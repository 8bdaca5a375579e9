//! What CVS ignores, as `-C` has it.
//!
//! Source: rsync(1), «--cvs-exclude».

/// A pattern, and whether it is one of rsync's own, which are perishable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct CvsPattern {
    pub(super) text: Box<[u8]>,
    pub(super) perishable: bool,
}

/// rsync's own patterns, then the words of `$HOME/.cvsignore`, then those of `$CVSIGNORE`; a `!`
/// among them forgets what came before.
pub(super) fn patterns(home: Option<&[u8]>, variable: Option<&[u8]>) -> Vec<CvsPattern> {
    let own = words(OWN, true);
    let home = words(home.unwrap_or_default(), false);
    let variable = words(variable.unwrap_or_default(), false);
    let mut patterns = Vec::new();
    for pattern in own.chain(home).chain(variable) {
        match &*pattern.text {
            b"!" => patterns.clear(),
            _ => patterns.push(pattern),
        }
    }
    patterns
}

fn words(text: &[u8], perishable: bool) -> impl Iterator<Item = CvsPattern> {
    let words = text.split(|byte| byte.is_ascii_whitespace() || *byte == 0);
    let words = words.filter(|word| !word.is_empty());
    words.map(move |word| CvsPattern {
        text: word.into(),
        perishable,
    })
}

const OWN: &[u8] = b"RCS SCCS CVS CVS.adm RCSLOG cvslog.* tags TAGS .make.state .nse_depinfo \
    *~ #* .#* ,* _$* *$ *.old *.bak *.BAK *.orig *.rej .del-* *.a *.olb *.o *.obj *.so *.exe *.Z \
    *.elc *.ln core .svn/ .git/ .hg/ .bzr/";
