//! Plugins that look on: what they are told, in which order.

use crate::stage::Stage;
use crate::table::same;

/// What a pod's whole life makes a plugin say, by a part of each line.
fn told_of_a_life(stage: &Stage) {
    let cri = stage.cri();
    let pod = stage.run(&cri, &[]).unwrap();
    stage.world.tokio.block_on(async {
        cri.stop(&pod.main, 0).await.unwrap();
        cri.remove(&pod.main).await.unwrap();
    });
    stage.end(&cri, &pod);
}

const LIFE: &str = "RunPodSandbox CreateContainer ValidateContainerAdjustment PostCreateContainer StartContainer \
                    PostStartContainer StopContainer RemoveContainer StopPodSandbox RemovePodSandbox";

#[test]
fn logger() {
    same("logger", &[("events of a pod's life", LIFE)], |stage| {
        let plugin = stage.plugin("logger", "10", &["-events", "all"]);
        told_of_a_life(stage);
        let said = plugin.said();
        // `… level=info msg="RunPodSandbox: pod:"`, with the fields of the pod below it.
        let mut events: Vec<&str> = Vec::new();
        for line in said.lines() {
            let Some((_, text)) = line.split_once("msg=\"") else { continue };
            let event = ["pod:\"", "request:\""].iter().find_map(|part| text.strip_suffix(part));
            let Some(event) = event.and_then(|text| text.strip_suffix(": ")) else { continue };
            events.push(event);
        }
        vec![("events of a pod's life", events.join(" "))]
    });
}

#[test]
fn template() {
    let life = "Started pod, Creating container, Created container, Starting container, Started container, \
                Stopped container, Removed container, Stopped pod, Removed pod";
    same("template", &[("events of a pod's life", life)], |stage| {
        let plugin = stage.plugin("template", "10", &[]);
        told_of_a_life(stage);
        let said = plugin.said();
        let events: Vec<String> = said
            .lines()
            .filter_map(|line| line.split_once("msg=\"")?.1.strip_suffix("...\""))
            .filter(|text| text.contains("test/plugged"))
            .map(|text| text.split(' ').take(2).collect::<Vec<_>>().join(" "))
            .collect();
        vec![("events of a pod's life", events.join(", "))]
    });
}

#[test]
fn differ() {
    same("differ", &[("a device that another plugin adds", "[Path]: /dev/nri-null")], |stage| {
        let mut command = std::process::Command::new(e2e::plugin::program("differ").unwrap());
        command.args(["-indices", "05,95"]);
        let plugin = stage.start(command, &["05-differ", "95-differ"]);
        let _other = stage.plugin("device-injector", "10", &[]);
        let value = "- path: /dev/nri-null\n  type: c\n  major: 1\n  minor: 3\n";
        stage.shown(&[("devices.noderesource.dev", value)], "true");
        let said = plugin.said();
        println!("{said}");
        let seen = said
            .lines()
            .filter(|line| line.contains("CreateContainer") && line.contains("/dev/nri-null"))
            .find_map(|line| line.split_once("-> To: "))
            .map(|(_, value)| value.trim_end_matches('"').to_owned());
        vec![("a device that another plugin adds", format!("[Path]: {}", seen.unwrap_or_default()))]
    });
}
