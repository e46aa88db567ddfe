module corten.example/gotools/nri

go 1.26.2

tool (
	github.com/containerd/nri/plugins/device-injector
	github.com/containerd/nri/plugins/differ
	github.com/containerd/nri/plugins/hook-injector
	github.com/containerd/nri/plugins/logger
	github.com/containerd/nri/plugins/network-device-injector
	github.com/containerd/nri/plugins/template
	github.com/containerd/nri/plugins/ulimit-adjuster
	github.com/containerd/nri/plugins/writable-cgroups
)

require (
	github.com/containerd/log v0.1.0 // indirect
	github.com/containerd/nri v0.12.2 // indirect
	github.com/containerd/nri/plugins/device-injector v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/differ v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/hook-injector v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/logger v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/network-device-injector v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/template v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/ulimit-adjuster v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/nri/plugins/writable-cgroups v0.0.0-20260819152733-4db964d9dc19 // indirect
	github.com/containerd/ttrpc v1.2.7 // indirect
	github.com/containernetworking/plugins v1.8.0 // indirect
	github.com/fatih/color v1.12.0 // indirect
	github.com/fsnotify/fsnotify v1.9.0 // indirect
	github.com/goccy/go-yaml v1.8.10 // indirect
	github.com/golang/protobuf v1.5.4 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/knqyf263/go-plugin v0.9.0 // indirect
	github.com/mattn/go-colorable v0.1.8 // indirect
	github.com/mattn/go-isatty v0.0.14 // indirect
	github.com/moby/sys/mountinfo v0.7.2 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/r3labs/diff/v3 v3.0.0 // indirect
	github.com/sirupsen/logrus v1.9.3 // indirect
	github.com/sters/yaml-diff v0.4.0 // indirect
	github.com/tetratelabs/wazero v1.11.0 // indirect
	github.com/vishvananda/netlink v1.3.1 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
	github.com/vmihailenco/msgpack v4.0.4+incompatible // indirect
	go.podman.io/common v0.66.1 // indirect
	go.podman.io/storage v1.61.0 // indirect
	go.yaml.in/yaml/v2 v2.4.2 // indirect
	golang.org/x/mod v0.32.0 // indirect
	golang.org/x/net v0.48.0 // indirect
	golang.org/x/sys v0.39.0 // indirect
	golang.org/x/xerrors v0.0.0-20200804184101-5ec99f83aff1 // indirect
	google.golang.org/appengine v1.6.7 // indirect
	google.golang.org/genproto/googleapis/rpc v0.0.0-20250414145226-207652e42e2e // indirect
	google.golang.org/grpc v1.72.2 // indirect
	google.golang.org/protobuf v1.36.9 // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)
