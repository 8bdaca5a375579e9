//! Rebuilds new data from a basis that is in memory.

use crate::Op;

/// A copy that does not lie within the basis.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a copy of {len} bytes at {basis_offset} leaves a basis of {basis_len} bytes")]
pub struct OutsideBasis {
    /// Where the copy begins.
    pub basis_offset: u64,
    /// How long it is.
    pub len: u64,
    /// Bytes in the basis.
    pub basis_len: usize,
}

/// Appends to `new` what `op` stands for.
///
/// # Errors
///
/// [`OutsideBasis`]; nothing is appended then.
pub fn apply(basis: &[u8], op: Op<'_>, new: &mut Vec<u8>) -> Result<(), OutsideBasis> {
    match op {
        Op::Literal(bytes) => new.extend_from_slice(bytes),
        Op::Copy { basis_offset, len } => {
            let copied = within(basis, basis_offset, len).ok_or(OutsideBasis {
                basis_offset,
                len,
                basis_len: basis.len(),
            })?;
            new.extend_from_slice(copied);
        }
    }
    Ok(())
}

fn within(basis: &[u8], offset: u64, len: u64) -> Option<&[u8]> {
    let end = usize::try_from(offset.checked_add(len)?).ok()?;
    basis.get(usize::try_from(offset).ok()?..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_outside_the_basis_is_refused() {
        let mut new = Vec::new();
        for (basis_offset, len) in [(0, 5), (4, 1), (5, 0), (u64::MAX, 1), (1, u64::MAX)] {
            let copy = Op::Copy { basis_offset, len };
            assert!(apply(b"abcd", copy, &mut new).is_err(), "{copy:?}");
        }
        assert_eq!(new, b"");
        apply(
            b"abcd",
            Op::Copy {
                basis_offset: 1,
                len: 3,
            },
            &mut new,
        )
        .unwrap();
        apply(b"abcd", Op::Literal(b"e"), &mut new).unwrap();
        assert_eq!(new, b"bcde");
    }
}
