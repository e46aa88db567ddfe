//! Who belongs to which trace: W3C Trace Context, level 1.

/// The flag of a trace that is kept.
pub(crate) const SAMPLED: u8 = 1;

/// The identity of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) flags: u8,
}

impl Context {
    /// Reads a `traceparent`. What is none is as if there were none, as the recommendation demands.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version, trace, span, flags] = std::array::from_fn(|_| parts.next());
        let (version, rest) = (byte(version?)?, parts.next());
        // A later version may go on after these four.
        if version == 0xff || (version == 0 && rest.is_some()) {
            return None;
        }
        let mut context = Self { trace: [0; 16], span: [0; 8], flags: byte(flags?)? };
        fill(trace?, &mut context.trace)?;
        fill(span?, &mut context.span)?;
        (context.trace != [0; 16] && context.span != [0; 8]).then_some(context)
    }

    /// The first span of a new trace, of which so many in a million are kept; `None` where this one is not, or the
    /// kernel gives no random bytes.
    pub(crate) fn root(per_million: u32) -> Option<Self> {
        let mut trace = [0; 16];
        getrandom::fill(&mut trace).ok()?;
        // By the random part of the id, so that every sampler of the same share decides alike.
        let [.., a, b, c, d, e, f, g] = trace;
        let share = u64::from_be_bytes([0, a, b, c, d, e, f, g]);
        let kept = u128::from(share) * 1_000_000 < (u128::from(per_million) << 56);
        if !kept {
            return None;
        }
        Self { trace, span: [0; 8], flags: SAMPLED }.child()
    }

    /// A span of the same trace.
    pub(crate) fn child(self) -> Option<Self> {
        let mut span = [0; 8];
        getrandom::fill(&mut span).ok()?;
        Some(Self { span, ..self })
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn byte(text: &str) -> Option<u8> {
    let mut byte = [0];
    fill(text, &mut byte)?;
    let [byte] = byte;
    Some(byte)
}

/// Exactly so many bytes in lower-case hexadecimal.
fn fill(text: &str, bytes: &mut [u8]) -> Option<()> {
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, bytes).is_ok()).then_some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read() {
        let context = Context::parse(GOOD).unwrap();
        assert_eq!(hex::encode(context.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(hex::encode(context.span), "b7ad6b7169203331");
        assert!(context.is_sampled());
        assert!(!Context::parse(&GOOD.replace("-01", "-00")).unwrap().is_sampled());
        assert!(Context::parse(&format!("01{}-more", &GOOD[2..])).is_some(), "a later version may have more");
    }

    #[test]
    fn what_is_no_traceparent_is_as_if_there_were_none() {
        let zero_trace = GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32));
        let zero_span = GOOD.replace("b7ad6b7169203331", &"0".repeat(16));
        for bad in ["", "00", "00-1-2-3", &GOOD[..54], &format!("{GOOD}-x"), &zero_trace, &zero_span] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
        assert_eq!(Context::parse(&GOOD.to_uppercase()), None);
        assert_eq!(Context::parse(&format!("ff{}", &GOOD[2..])), None);
    }

    #[test]
    fn of_a_million_so_many_are_kept() {
        assert!((0..100).all(|_| Context::root(1_000_000).is_some()));
        assert!((0..100).all(|_| Context::root(0).is_none()));
        let kept = (0..4000).filter(|_| Context::root(500_000).is_some()).count();
        assert!((1500..2500).contains(&kept), "{kept}");
    }
}
