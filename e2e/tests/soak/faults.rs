//! Carries faults out, one after the other.

use crate::node::Node;
use crate::plan::{Fault, Mishap};
use crate::plugin::Guest;
use crate::weather::Part;
use e2e::error::Error;
use e2e::world::World;
use e2e::{breakage, wait};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How long a daemon may take to die at a failpoint of its start, or to be there without.
const START: Duration = Duration::from_secs(20);

/// Who carries them out.
pub(crate) struct Trouble<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) node: Arc<Node>,
    pub(crate) guest: Guest,
    pub(crate) daemon: Arc<AtomicI32>,
    pub(crate) kills: u64,
    /// The longest that a daemon took until it answered.
    pub(crate) slowest: Duration,
}

impl Trouble<'_> {
    pub(crate) fn carry_out(&mut self, mishap: &Mishap) -> Result<(), Error> {
        self.rest(mishap.after);
        if self.node.is_over() {
            return Ok(());
        }
        self.node.note(&format!("{:?} for {:?}", mishap.fault, mishap.lasts));
        let name = format!("{:?}", mishap.fault);
        self.node.count(&format!("faults: {}", name.split(['(', '[']).next().unwrap_or_default()));
        match mishap.fault {
            Fault::Kill => self.kill(mishap.lasts, &[]),
            Fault::KillAgain(moments) => self.kill(mishap.lasts, &moments),
            Fault::KillAt(point) => self.kill_at(point),
            Fault::End => self.end(mishap.lasts),
            Fault::Plugin => {
                self.node.weather.breaks(Part::Plugin);
                self.guest.leave(true);
                self.rest(mishap.lasts);
                self.guest.leave(false);
                self.node.weather.mends(Part::Plugin);
                Ok(())
            }
            Fault::Registry => self.during(
                Part::Registry,
                mishap.lasts,
                |world| world.registry.kill(),
                |world| world.registry.restart(),
            ),
            Fault::Disk => self.during(
                Part::Disk,
                mishap.lasts,
                |world| breakage::fill(&world.daemon.place().data),
                |world| breakage::empty(&world.daemon.place().data),
            ),
            Fault::Network(manner) => {
                let set = |manner| move |world: &mut World| breakage::install_bridge(&plugins(world), manner);
                self.during(Part::Network, mishap.lasts, set(manner), set("works"))
            }
        }
    }

    fn during(
        &mut self,
        part: Part,
        lasts: Duration,
        breaks: impl FnOnce(&mut World) -> Result<(), Error>,
        mends: impl FnOnce(&mut World) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.node.weather.breaks(part);
        breaks(self.world)?;
        self.rest(lasts);
        mends(self.world)?;
        self.node.weather.mends(part);
        Ok(())
    }

    /// Waits, not beyond the end.
    fn rest(&self, long: Duration) {
        let end = Instant::now() + long;
        while !self.node.is_over() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now())));
        }
    }

    fn kill(&mut self, lasts: Duration, moments: &[u64]) -> Result<(), Error> {
        self.node.weather.breaks(Part::Daemon);
        self.world.daemon.kill()?;
        self.kills += 1;
        std::thread::sleep(lasts);
        for moment in moments {
            self.world.daemon.begin()?;
            std::thread::sleep(Duration::from_millis(*moment));
            self.world.daemon.kill()?;
            self.kills += 1;
        }
        self.back()
    }

    /// Its successor dies at a point of its start, if it comes there.
    fn kill_at(&mut self, point: &str) -> Result<(), Error> {
        self.node.weather.breaks(Part::Daemon);
        self.world.daemon.kill()?;
        self.kills += 1;
        self.world.daemon.set_environment(vec![("CORTEN_FAILPOINTS".to_owned(), format!("{point}=abort@1"))]);
        if self.world.daemon.restart().is_ok() {
            // What goes on behind its first answer is of its start, too.
            let _ = wait::until("its death", Duration::from_millis(200), || !self.world.daemon.is_alive());
        }
        if self.world.daemon.is_alive() {
            self.node.count("points of a start that were not met");
        } else {
            self.kills += 1;
        }
        self.world.daemon.kill()?;
        self.world.daemon.set_environment(Vec::new());
        self.back()
    }

    fn end(&mut self, lasts: Duration) -> Result<(), Error> {
        self.node.weather.breaks(Part::Daemon);
        self.world.daemon.stop()?;
        std::thread::sleep(lasts);
        self.back()
    }

    fn back(&mut self) -> Result<(), Error> {
        let begin = Instant::now();
        self.world.daemon.restart()?;
        self.slowest = self.slowest.max(begin.elapsed());
        self.daemon.store(self.world.daemon.pid(), Ordering::Relaxed);
        self.node.weather.mends(Part::Daemon);
        if begin.elapsed() > START {
            let last = self.world.daemon.log_tail();
            return Err(Error::Late { what: "the daemon's answer", after: START, last });
        }
        Ok(())
    }
}

/// Where the node's CNI plugins are.
pub(crate) fn plugins(world: &World) -> PathBuf {
    world.isolation.root().join("plugins")
}
