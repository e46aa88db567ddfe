//! Limits that are written in words of their own.

use crate::value::{ValueError, ValueResult};

text_value!(
    /// CPUs or memory nodes in the list format of cpuset(7): `0-3,7`.
    CpuList, cpu_list
);
text_value!(
    /// The size of a huge page as the kernel writes it: `2MB`.
    PageSize, page_size
);
text_value!(
    /// A file of a cgroup that holds a limit: `memory.high`.
    CgroupFile, cgroup_file
);

impl CpuList {
    /// Every member once, in order: lists that are written in different ways may mean the same.
    #[must_use]
    pub fn members(&self) -> Vec<u16> {
        let mut ranges: Vec<(u16, u16)> =
            self.0.split(',').filter_map(range).map(std::ops::RangeInclusive::into_inner).collect();
        ranges.sort_unstable();
        let mut members: Vec<u16> = Vec::new();
        for (first, end) in ranges {
            // A list may name a range of thousands as often as it likes.
            let next = members.last().map_or(Some(0), |last| last.checked_add(1));
            members.extend(next.into_iter().flat_map(|next| next.max(first)..=end));
        }
        members
    }
}

fn cpu_list(text: String) -> ValueResult<String> {
    if text.split(',').all(|part| range(part).is_some()) {
        Ok(text)
    } else {
        Err(ValueError::Form { text, form: "list such as 0-3,7" })
    }
}

/// `7` or `0-3`.
fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let number = |text: &str| {
        // `parse` would take a sign.
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = number(first)?..=number(last)?;
    (!range.is_empty()).then_some(range)
}

fn page_size(text: String) -> ValueResult<String> {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit)).unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::Form { text, form: "size such as 2MB" });
    }
    Ok(text)
}

fn cgroup_file(text: String) -> ValueResult<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let (controller, file) = text.split_once('.').unwrap_or_default();
    if controller.is_empty() || file.is_empty() || !text.bytes().all(allowed) {
        return Err(ValueError::Form { text, form: "file of a cgroup, such as memory.max" });
    }
    if controller == "cgroup" { Err(ValueError::CgroupItself) } else { Ok(text) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_and_ranges() {
        for text in ["0", "0-3,7", "3-3", "1,0"] {
            assert!(CpuList::new(text).is_ok(), "{text}");
        }
        for text in ["", "3-0", "0,", "+1", "-1", "0-1\n", "a", "65536"] {
            assert!(CpuList::new(text).is_err(), "{text}");
        }
        assert_eq!(CpuList::new("7,0-2,1").unwrap().members(), [0, 1, 2, 7]);
        assert_eq!(
            CpuList::new("65535,1-2,65534-65535,0-5,3-4").unwrap().members(),
            [0, 1, 2, 3, 4, 5, 65534, 65535]
        );
        assert_eq!(CpuList::new("0,").unwrap_err().to_string(), r#""0," is no list such as 0-3,7"#);
    }

    #[test]
    fn sizes_and_files_that_reach_no_other_file() {
        for size in ["2MB", "1GB", "64KB"] {
            assert!(PageSize::new(size).is_ok(), "{size}");
        }
        for size in ["", "MB", "2", "../2MB", "2MiB", "2 MB", "2MBMB"] {
            assert!(PageSize::new(size).is_err(), "{size}");
        }
        assert!(CgroupFile::new("memory.high").is_ok());
        for key in ["../memory.max", "cgroup.procs", "memory", "a/b.c", "", ".max", "memory."] {
            assert!(CgroupFile::new(key).is_err(), "{key}");
        }
    }

    #[test]
    fn a_record_is_no_way_around() {
        assert_eq!(serde_json::from_str::<PageSize>(r#""2MB""#).unwrap().as_str(), "2MB");
        assert!(serde_json::from_str::<PageSize>(r#""../2MB""#).is_err());
    }
}
