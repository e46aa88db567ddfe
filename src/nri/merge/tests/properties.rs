//! What holds for any number of plugins with any changes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const KEYS: [&str; 3] = ["A", "B", "C"];

/// One plugin: for each key whether it removes it, and what it sets it to.
type Plugin = Vec<(bool, Option<u8>)>;

fn plugins() -> impl Strategy<Value = Vec<Plugin>> {
    let key = (any::<bool>(), proptest::option::of(0_u8..3));
    proptest::collection::vec(proptest::collection::vec(key, KEYS.len()), 0..5)
}

fn adjustment(plugin: &Plugin) -> ContainerAdjustment {
    let mut made = ContainerAdjustment::default();
    for (key, (removes, sets)) in KEYS.iter().zip(plugin) {
        // A setting may stand before the removal: the removal goes first all the same.
        if let Some(value) = sets {
            made.env.push(pair(key, &value.to_string()));
            made.mounts.push(mount(&format!("/{key}"), &value.to_string()));
            made.annotations.insert((*key).to_owned(), value.to_string());
        }
        if *removes {
            made.env.push(pair(&mark(key), ""));
            made.mounts.push(mount(&mark(&format!("/{key}")), ""));
            made.annotations.insert(mark(key), String::new());
        }
    }
    made
}

fn container(has: &[Option<u8>]) -> Container {
    let mut made = Container::default();
    for (key, value) in KEYS.iter().zip(has).filter_map(|(key, value)| Some((key, value.as_ref()?))) {
        made.env.push(format!("{key}={value}"));
        made.mounts.push(mount(&format!("/{key}"), &value.to_string()));
        made.annotations.insert((*key).to_owned(), value.to_string());
    }
    made
}

/// The three lists as maps of the keys.
fn maps(container: &Container) -> [BTreeMap<String, String>; 3] {
    let env = container.env.iter().filter_map(|pair| pair.split_once('='));
    let mounts = container.mounts.iter();
    [
        env.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        mounts.map(|mount| (mount.destination[1..].to_owned(), mount.source.clone())).collect(),
        container.annotations.clone().into_iter().collect(),
    ]
}

/// What the rules say: the first key of which two claim the same, and else what the container ends with.
fn expected(has: &[Option<u8>], plugins: &[Plugin]) -> Result<BTreeMap<String, String>, ()> {
    let mut end = BTreeMap::new();
    for (index, key) in KEYS.iter().enumerate() {
        let (mut value, mut owner, mut freed) = (has[index], None, None);
        for (number, plugin) in plugins.iter().enumerate() {
            let (removes, sets) = plugin[index];
            if removes {
                value = None;
                if owner.take().is_some() {
                    freed = Some(number);
                }
            }
            if sets.is_some() {
                if owner.is_some() || freed.is_some_and(|by| by != number) {
                    return Err(());
                }
                (value, owner, freed) = (sets, Some(number), None);
            }
        }
        end.extend(value.map(|value| ((*key).to_owned(), value.to_string())));
    }
    Ok(end)
}

proptest! {
    #[test]
    fn plugins_in_order_are_one_adjustment_or_a_conflict(
        has in proptest::collection::vec(proptest::option::of(5_u8..8), KEYS.len()),
        plugins in plugins(),
    ) {
        let mut creation = of(container(&has));
        let outcome = plugins.iter().enumerate().try_for_each(|(number, plugin)| {
            creation.take(&format!("{number:02}-p"), reply(adjustment(plugin))).map(drop)
        });
        match expected(&has, &plugins) {
            Err(()) => prop_assert!(outcome.is_err()),
            Ok(end) => {
                prop_assert_eq!(outcome, Ok(()));
                for map in maps(shown(&creation)) {
                    prop_assert_eq!(&map, &end);
                }
                // The adjustment as a whole, taken by the container as it was, leads to the same.
                let whole = creation.finish().adjustment;
                let mut again = of(container(&has));
                again.take("00-all", reply(whole)).unwrap();
                for map in maps(shown(&again)) {
                    prop_assert_eq!(&map, &end);
                }
            }
        }
    }

    #[test]
    fn the_order_of_plugins_that_share_nothing_does_not_matter(
        plugins in plugins(),
        turn in 0_usize..3,
    ) {
        // Each plugin keeps to a key of its own.
        let own: Vec<Plugin> = plugins.iter().take(KEYS.len()).enumerate().map(|(number, plugin)| {
            plugin.iter().enumerate().map(|(index, one)| if index == number { *one } else { (false, None) }).collect()
        }).collect();
        let end = |order: Vec<usize>| {
            let mut creation = of(container(&[Some(5), None, Some(7)]));
            for number in order {
                creation.take(&format!("{number:02}-p"), reply(adjustment(&own[number]))).unwrap();
            }
            (maps(shown(&creation)), creation.finish().owners)
        };
        let order: Vec<usize> = (0..own.len()).collect();
        let mut turned = order.clone();
        turned.rotate_left(turn.min(own.len()));
        prop_assert_eq!(end(order), end(turned));
    }
}
