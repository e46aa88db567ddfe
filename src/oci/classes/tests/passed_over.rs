//! What is told in the log of classes that annotations ask for in vain.

use super::{Classes, Kind, Path, adjusted, resctrl};
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// The classes that events of this thread name.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if matches!(field.name(), "class" | "setting") {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

#[test]
fn a_class_that_is_passed_over_is_told_once() {
    let told = Told::default();
    let _held = tracing::subscriber::set_default(told.clone());
    let none = Classes::new(None, &resctrl(Path::new("/none")));
    let none = none.passing_over(vec![Kind::BlockIo, Kind::Rdt]);
    for _ in 0..3 {
        adjusted(&none, &[("blockio", "slow"), ("rdt", "gold")]).unwrap();
    }
    adjusted(&none, &[("blockio", "fast")]).unwrap();
    let of = |class: &str, setting: &str| [format!("{class:?}"), format!("{setting:?}")];
    let expected = [
        of("slow", "runtime.ignore_blockio_not_enabled_errors"),
        of("gold", "runtime.ignore_rdt_not_enabled_errors"),
        of("fast", "runtime.ignore_blockio_not_enabled_errors"),
    ];
    assert_eq!(*told.0.lock().unwrap(), expected.concat());
}
