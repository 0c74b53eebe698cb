package limavm

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/crashpoint"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// act does one step. What it asks of the driver is only begun when it returns.
func (r *Reconciler) act(ctx context.Context, v *visit, step Step) error {
	obj, driver := v.obj, r.cfg.Driver
	switch step {
	case StepNone:
		return nil
	case StepAddFinalizer:
		return r.edit(ctx, v, func() { controllerutil.AddFinalizer(obj, v1alpha1.FinalizerCleanup) })
	case StepRemoveFinalizer:
		crashpoint.At(crashpoint.ObjectReleased)
		return r.edit(ctx, v, func() { controllerutil.RemoveFinalizer(obj, v1alpha1.FinalizerCleanup) })
	case StepNoteRestart:
		obj.Status.RestartNeeded = true // saved with the report
		return nil
	case StepForgetRestart:
		crashpoint.At(crashpoint.RestartNoted)
		err := r.edit(ctx, v, func() { delete(obj.Annotations, v1alpha1.AnnotationRestart) })
		crashpoint.At(crashpoint.RequestForgotten)
		return err
	case StepForgetReset:
		if err := r.tellFirst(ctx, v, step); err != nil {
			return err
		}
		return r.edit(ctx, v, func() { delete(obj.Annotations, v1alpha1.AnnotationReset) })
	case StepForgetForce:
		if err := r.tellFirst(ctx, v, step); err != nil {
			return err
		}
		return r.edit(ctx, v, func() { delete(obj.Annotations, v1alpha1.AnnotationForceStop) })
	case StepEndRestart:
		obj.Status.RestartNeeded = false
		return nil
	case StepRestart:
		// Saved before the start: a daemon that dies in between must not restart the VM again.
		obj.Status.RestartNeeded = false
		if err := r.tellFirst(ctx, v, step); err != nil {
			return err
		}
		crashpoint.At(crashpoint.RestartBegun)
		return driver.Start(obj.Name)
	case StepCopyTemplate:
		err := r.copyTemplate(ctx, obj)
		crashpoint.At(crashpoint.TemplateCopied)
		return err
	case StepReleaseTemplate:
		return r.releaseTemplate(ctx, client.ObjectKey{Namespace: obj.Namespace, Name: obj.TemplateConfigMapName()})
	case StepCreate:
		return driver.Create(obj.Name, v.spec())
	case StepApply:
		return driver.Apply(obj.Name, v.spec())
	case StepStart:
		return driver.Start(obj.Name)
	case StepStop:
		return driver.Stop(obj.Name, v.grace)
	case StepStopNow:
		return driver.Stop(obj.Name, 0)
	case StepDelete:
		return driver.Delete(obj.Name)
	}
	return fmt.Errorf("cannot do step %q: unknown", step)
}

// tellFirst saves the status before a request is forgotten: who sees that it is must not find the status from before it.
func (r *Reconciler) tellFirst(ctx context.Context, v *visit, step Step) error {
	v.obj.Status = report(v.obj, v.facts, outcome{step: step})
	return r.save(ctx, v)
}

// spec is what the driver makes an instance from.
func (v *visit) spec() vm.Spec {
	return vm.Spec{Owner: string(v.obj.UID), Template: v.template.merged, TemplateVersion: v.template.version}
}

// edit changes the object's metadata.
func (r *Reconciler) edit(ctx context.Context, v *visit, change func()) error {
	change()
	patched := v.saved.DeepCopy()
	patched.Finalizers, patched.Annotations = v.obj.Finalizers, v.obj.Annotations
	if err := r.Patch(ctx, patched, lockedPatch(v.saved)); err != nil {
		return ignoreStale(err, "cannot change the metadata of LimaVM %s", client.ObjectKeyFromObject(v.obj))
	}
	v.saved.ObjectMeta = *patched.ObjectMeta.DeepCopy()
	return nil
}

// lockedPatch is for metadata: a patch replaces the whole list of finalizers, so it must not meet one that it has not seen.
func lockedPatch(from client.Object) client.Patch {
	return client.MergeFromWithOptions(from, client.MergeFromWithOptimisticLock{})
}
