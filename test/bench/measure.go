package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const vmName = "v"

type bench struct {
	options
	template string
	report   *report
	rdd      rdd
	alone    limaAlone
}

func (b *bench) all(ctx context.Context) error {
	if err := b.size(); err != nil {
		return err
	}
	if err := b.starts(ctx); err != nil {
		return err
	}
	return errors.Join(b.withDaemon(ctx, func() error {
		return errors.Join(b.idleDaemon(ctx), b.commands(ctx), b.creation(ctx), b.lives(ctx))
	}), b.manyVMs(ctx))
}

func (b *bench) size() error {
	info, err := os.Stat(b.rdd.binary)
	if err != nil {
		return err
	}
	b.report.add(figure{Name: "stripped binary", Unit: "MB", Must: 140, Samples: []float64{mb(info.Size())}})
	return nil
}

// starts measures the control plane's start, each time in a new instance, and then again in the same.
func (b *bench) starts(ctx context.Context) error {
	first, again := figure{Name: "svc start, first time", Unit: "s", Must: 0.8}, figure{Name: "svc start, again", Unit: "s", Must: 0.6}
	for i := range b.repeat {
		b.progress("control plane, start %d of %d", i+1, b.repeat)
		instance := b.rdd.instance(fmt.Sprintf("s%d", i))
		err := func() error {
			if err := timed(&first, func() error { return instance.run(ctx, "svc", "start") }); err != nil {
				return err
			}
			if err := instance.run(ctx, "svc", "stop"); err != nil {
				return err
			}
			return timed(&again, func() error { return instance.run(ctx, "svc", "start") })
		}()
		if err := errors.Join(err, instance.remove()); err != nil {
			return err
		}
	}
	b.report.add(first, again)
	return nil
}

func (b *bench) withDaemon(ctx context.Context, do func() error) (err error) {
	b.rdd = b.rdd.instance("m")
	defer func() { err = errors.Join(err, b.rdd.remove()) }()
	if err := b.rdd.run(ctx, "svc", "start"); err != nil {
		return err
	}
	return do()
}

func (b *bench) idleDaemon(ctx context.Context) error {
	pid, err := b.rdd.daemon(ctx)
	if err != nil {
		return err
	}
	return b.idleProcess(ctx, pid, "idle daemon", 150, 250)
}

// idleProcess measures a daemon that nobody asks for anything: its memory in MB and its CPU in ms a minute, and what they must not
// exceed; 0: told, not judged.
func (b *bench) idleProcess(ctx context.Context, pid int, name string, mostMemory, mostCPU float64) error {
	b.progress("%s, twice %s", name, b.idle)
	if err := wait(ctx, b.idle); err != nil {
		return err
	}
	memory, err := memoryOf(pid)
	if err != nil {
		return err
	}
	before, err := cpuOf(pid)
	if err != nil {
		return err
	}
	if err := wait(ctx, b.idle); err != nil {
		return err
	}
	after, err := cpuOf(pid)
	if err != nil {
		return err
	}
	perMinute := (after - before).Seconds() * 1000 * time.Minute.Seconds() / b.idle.Seconds()
	b.report.add(
		figure{Name: name + ", RSS", Unit: "MB", Must: mostMemory, Samples: []float64{mb(memory.resident)}},
		figure{Name: name + ", anonymous memory", Unit: "MB", Samples: []float64{mb(memory.anonymous)}},
		figure{Name: name + ", CPU a minute", Unit: "ms", Must: mostCPU, Samples: []float64{perMinute}},
	)
	return nil
}

// commands measures short commands, wall time from start to end.
func (b *bench) commands(ctx context.Context) error {
	figures := []figure{
		{Name: "rdd ctl get limavm", Unit: "s", Must: 0.12},
		{Name: "rdd limavm list", Unit: "s", Must: 0.12},
		{Name: "rdd version", Unit: "s", Must: 0.03},
		{Name: "rdd svc paths, which is not answered before main", Unit: "s"},
	}
	words := [][]string{{"ctl", "get", "limavm"}, {"limavm", "list"}, {"version"}, {"svc", "paths"}}
	b.progress("short commands")
	for range 4 * b.repeat {
		for i := range figures {
			if err := timed(&figures[i], func() error { return b.rdd.run(ctx, words[i]...) }); err != nil {
				return err
			}
		}
	}
	b.report.add(figures...)
	return nil
}

// creation measures `limavm create`, which waits for Created=True, command and all.
func (b *bench) creation(ctx context.Context) error {
	create := figure{Name: "create, to Created=True", Unit: "s", Must: 0.5}
	for i := range b.repeat {
		b.progress("create %d of %d", i+1, b.repeat)
		name := fmt.Sprintf("c%d", i)
		if err := timed(&create, func() error { return b.rdd.run(ctx, "limavm", "create", name, b.template) }); err != nil {
			return err
		}
		if err := b.rdd.run(ctx, "limavm", "delete", name); err != nil {
			return err
		}
	}
	b.report.add(create)
	return nil
}

// lives starts and stops one VM with rdd and the same VM with Lima alone, in turns. The first life of each is not counted: it
// makes what later ones find. There are more of them than of other things: Lima asks every 3 s whether ssh answers, and QEMU's network
// resends at a step of 0.5 s what the guest is not yet there for, so that starts differ by 0.4 or 3 s.
func (b *bench) lives(ctx context.Context) (err error) {
	if err := b.rdd.run(ctx, "limavm", "create", vmName, b.template); err != nil {
		return err
	}
	emulated, err := b.warmUp(ctx)
	if err != nil {
		return err
	}
	b.alone.emulated = emulated
	defer func() { err = errors.Join(err, b.alone.remove()) }()
	if err := b.alone.run(ctx, "create", "--name", vmName, b.template); err != nil {
		return err
	}
	if _, err := b.life(ctx, b.alone, &figure{}, &figure{}); err != nil {
		return err
	}

	var ours, its struct{ start, stop, agent figure }
	lives := 2*b.repeat + 1
	for i := range lives {
		b.progress("start and stop %d of %d, with rdd", i+1, lives)
		agent, err := b.life(ctx, b.rdd, &ours.start, &ours.stop)
		if err != nil {
			return err
		}
		ours.agent.sample(agent)
		b.progress("start and stop %d of %d, with Lima alone", i+1, lives)
		if agent, err = b.life(ctx, b.alone, &its.start, &its.stop); err != nil {
			return err
		}
		its.agent.sample(agent)
	}
	start := figure{Name: "start, to Running=True", Unit: "s", Must: 1.03 * its.start.median(), Samples: ours.start.Samples,
		Reference: its.start.Samples, Factor: 1.03}
	stop := figure{Name: "stop, graceful", Unit: "s", Must: 1.05 * its.stop.median(), Samples: ours.stop.Samples,
		Reference: its.stop.Samples, Factor: 1.05}
	agent := figure{Name: "agent of one VM, anonymous memory", Unit: "MB", Must: 20, Samples: ours.agent.Samples, Reference: its.agent.Samples}
	b.report.add(start, stop, agent)
	return nil
}

// warmUp is the first life of rdd's VM. It tells whether QEMU emulates.
func (b *bench) warmUp(ctx context.Context) (emulated bool, err error) {
	b.progress("first start of each, not counted")
	if err := b.rdd.start(ctx); err != nil {
		return false, err
	}
	if emulated, err = b.rdd.emulated(ctx); err != nil {
		return false, err
	}
	b.report.Emulated = emulated
	if err := wait(ctx, b.settle); err != nil {
		return false, err
	}
	return emulated, b.rdd.stop(ctx)
}

// runner is what starts and stops a VM: rdd, or Lima alone.
type runner interface {
	start(ctx context.Context) error
	stop(ctx context.Context) error
	agent(ctx context.Context) (pid int, err error)
}

// life is one start and stop. It returns the anonymous memory of the agent in between, in MB.
func (b *bench) life(ctx context.Context, r runner, start, stop *figure) (agent float64, err error) {
	if err := timed(start, func() error { return r.start(ctx) }); err != nil {
		return 0, err
	}
	if err := wait(ctx, b.settle); err != nil {
		return 0, err
	}
	pid, err := r.agent(ctx)
	if err != nil {
		return 0, err
	}
	memory, err := memoryOf(pid)
	if err != nil {
		return 0, err
	}
	return mb(memory.anonymous), timed(stop, func() error { return r.stop(ctx) })
}

func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func timed(into *figure, do func() error) error {
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	into.sample(time.Since(begin).Seconds())
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
