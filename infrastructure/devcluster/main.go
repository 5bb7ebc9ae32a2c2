// Command devcluster is the control plane of the local stack in one program: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler and kubectl. It behaves as the part whose name it is called by (a symbolic
// link), or as the part that its first argument names.
//
// It owns nothing but the choice of the part: flags, certificates and data folders come from the caller.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	// Metrics of the client and of versions, as the separate programs of a release have them.
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// parts maps a name to what runs under it. Each function returns the exit code of its part.
var parts = map[string]func(args []string) int{
	"etcd": func(args []string) int {
		etcdmain.Main(append([]string{"etcd"}, args...))
		return 0
	},
	"kube-apiserver":          func(args []string) int { return run(apiserver.NewAPIServerCommand(), args) },
	"kube-controller-manager": func(args []string) int { return run(controllermanager.NewControllerManagerCommand(), args) },
	"kube-scheduler":          func(args []string) int { return run(scheduler.NewSchedulerCommand(), args) },
	"kubectl": func(args []string) int {
		// kubectl looks at the arguments of the process for plug-ins and completion.
		os.Args = append([]string{"kubectl"}, args...)
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return 0
	},
}

func run(command *cobra.Command, args []string) int {
	command.SetArgs(args)
	return cli.Run(command)
}

func main() {
	name := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe")
	args := os.Args[1:]
	if _, known := parts[name]; !known && len(args) > 0 {
		name, args = args[0], args[1:]
	}

	part, known := parts[name]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: devcluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [flags]")
		os.Exit(2)
	}
	os.Exit(part(args))
}
