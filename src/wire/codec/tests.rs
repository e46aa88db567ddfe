#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_list_may_fill_the_rest_of_a_message_and_not_claim_more() {
    let list = vec![true, false, true];
    let mut bytes = Vec::new();
    list.put(&mut bytes);
    assert_eq!(Vec::<bool>::get(&mut Reader::new(&bytes)), Ok(list));
    bytes[0] += 1;
    assert_eq!(Vec::<bool>::get(&mut Reader::new(&bytes)), Err(DecodeError::Truncated { what: "list" }));
}
