package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/kubernetes/pkg/controller/namespace/deletion"
)

const (
	defaultServiceAccount = "default"
	rootCAConfigMap       = "kube-root-ca.crt"
	rootCAKey             = "ca.crt"

	// finalizeDelay lets admission notice that a namespace is going, before its content is deleted: what slips in afterwards
	// would stay behind. Upstream waits five seconds, for servers that do not share a process.
	finalizeDelay = 300 * time.Millisecond
	// remainingDelay is how soon to look again at a namespace with content that takes its time.
	remainingDelay = time.Second
)

// namespaceController sees to it that a namespace has what clients expect in one (the default service account, the
// certificate authority), and that it leaves nothing behind when it goes. Upstream has three controllers for that, with more
// goroutines and tickers.
type namespaceController struct {
	cl     *clients
	caCert string
	log    *slog.Logger

	namespaces      corelisters.NamespaceLister
	serviceAccounts corelisters.ServiceAccountLister
	configMaps      corelisters.ConfigMapLister
	factories       []informers.SharedInformerFactory

	queue workqueue.TypedRateLimitingInterface[string]
}

// newNamespaceController must be called before the shared informers are started.
func newNamespaceController(cl *clients, caCert []byte, log *slog.Logger) (*namespaceController, error) {
	c := &namespaceController{
		cl:     cl,
		caCert: string(caCert),
		log:    log,
		// Without a name, a queue has no metrics, and without metrics it does not tick.
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	// Of all service accounts and config maps, only those of these names are held.
	accountFactory, configFactory := onlyNamed(cl, defaultServiceAccount), onlyNamed(cl, rootCAConfigMap)
	c.factories = []informers.SharedInformerFactory{cl.informers, accountFactory, configFactory}

	namespaces := cl.informers.Core().V1().Namespaces()
	serviceAccounts := accountFactory.Core().V1().ServiceAccounts()
	configMaps := configFactory.Core().V1().ConfigMaps()
	c.namespaces, c.serviceAccounts, c.configMaps = namespaces.Lister(), serviceAccounts.Lister(), configMaps.Lister()

	byNamespace := func(obj any) {
		if m, ok := obj.(metav1.Object); ok {
			c.queue.Add(m.GetNamespace())
		} else if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			namespace, _, _ := cache.SplitMetaNamespaceKey(gone.Key)
			c.queue.Add(namespace)
		}
	}
	_, err := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    c.sawNamespace,
		UpdateFunc: func(_, obj any) { c.sawNamespace(obj) },
	})
	_, err1 := serviceAccounts.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: byNamespace})
	_, err2 := configMaps.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		DeleteFunc: byNamespace,
		UpdateFunc: func(_, obj any) { byNamespace(obj) },
	})
	return c, errors.Join(err, err1, err2)
}

func onlyNamed(cl *clients, name string) informers.SharedInformerFactory {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return informers.NewSharedInformerFactoryWithOptions(cl.kube, 0,
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = selector }))
}

func (c *namespaceController) sawNamespace(obj any) {
	namespace, ok := obj.(*corev1.Namespace)
	switch {
	case !ok:
	case namespace.DeletionTimestamp != nil:
		c.queue.AddAfter(namespace.Name, finalizeDelay)
	default:
		c.queue.Add(namespace.Name)
	}
}

// run works until ctx is done.
func (c *namespaceController) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, f := range c.factories {
		f.StartWithContext(ctx)
		f.WaitForCacheSyncWithContext(ctx)
	}
	defer func() {
		for _, f := range c.factories[1:] {
			f.Shutdown()
		}
	}()
	// The deleter asks discovery at once, and ends the process when the answer is empty. By now it is not.
	deleter := deletion.NewNamespacedResourcesDeleter(ctx, c.cl.kube.CoreV1().Namespaces(), c.cl.metadata, c.cl.kube.CoreV1(),
		c.cl.kube.Discovery().ServerPreferredNamespacedResources, corev1.FinalizerKubernetes)

	wg.Go(func() {
		for c.next(ctx, deleter) {
		}
	})
	<-ctx.Done()
	c.queue.ShutDown()
}

func (c *namespaceController) next(ctx context.Context, deleter deletion.NamespacedResourcesDeleterInterface) bool {
	name, quit := c.queue.Get()
	if quit {
		return false
	}
	defer c.queue.Done(name)
	err := c.sync(ctx, name, deleter)
	var remaining *deletion.ResourcesRemainingError
	switch {
	case err == nil || ctx.Err() != nil:
		c.queue.Forget(name)
	case errors.As(err, &remaining):
		c.queue.Forget(name)
		c.queue.AddAfter(name, remainingDelay)
	default:
		c.log.Warn("cannot sync a namespace, trying again", "namespace", name, "error", err)
		c.queue.AddRateLimited(name)
	}
	return true
}

func (c *namespaceController) sync(ctx context.Context, name string, deleter deletion.NamespacedResourcesDeleterInterface) error {
	namespace, err := c.namespaces.Get(name)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if namespace.DeletionTimestamp != nil {
		return deleter.Delete(ctx, name)
	}
	err = errors.Join(c.ensureServiceAccount(ctx, name), c.ensureRootCA(ctx, name))
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

func (c *namespaceController) ensureServiceAccount(ctx context.Context, namespace string) error {
	if _, err := c.serviceAccounts.ServiceAccounts(namespace).Get(defaultServiceAccount); !apierrors.IsNotFound(err) {
		return err
	}
	return createServiceAccount(ctx, c.cl, namespace)
}

func createServiceAccount(ctx context.Context, cl *clients, namespace string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: defaultServiceAccount, Namespace: namespace}}
	_, err := cl.kube.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create the default service account of the namespace %s: %w", namespace, err)
	}
	return nil
}

func (c *namespaceController) ensureRootCA(ctx context.Context, namespace string) error {
	got, err := c.configMaps.ConfigMaps(namespace).Get(rootCAConfigMap)
	if apierrors.IsNotFound(err) {
		return createRootCA(ctx, c.cl, namespace, c.caCert)
	}
	if err != nil || got.Data[rootCAKey] == c.caCert && len(got.Data) == 1 && len(got.BinaryData) == 0 {
		return err
	}
	got = got.DeepCopy()
	got.Data, got.BinaryData = map[string]string{rootCAKey: c.caCert}, nil
	if _, err := c.cl.kube.CoreV1().ConfigMaps(namespace).Update(ctx, got, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("cannot update %s in the namespace %s: %w", rootCAConfigMap, namespace, err)
	}
	return nil
}

func createRootCA(ctx context.Context, cl *clients, namespace, caCert string) error {
	ca := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:        rootCAConfigMap,
			Namespace:   namespace,
			Annotations: map[string]string{"kubernetes.io/description": "The certificate authority of the API server."},
		},
		Data: map[string]string{rootCAKey: caCert},
	}
	_, err := cl.kube.CoreV1().ConfigMaps(namespace).Create(ctx, ca, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create %s in the namespace %s: %w", rootCAConfigMap, namespace, err)
	}
	return nil
}

// ensureNamespaces creates the namespaces that are always there, with what belongs into them.
func ensureNamespaces(ctx context.Context, cl *clients, caCert []byte) error {
	for _, name := range immortalNamespaces() {
		if _, err := cl.informers.Core().V1().Namespaces().Lister().Get(name); !apierrors.IsNotFound(err) {
			if err != nil {
				return err
			}
			continue
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := cl.kube.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create the namespace %s: %w", name, err)
		}
		if err := errors.Join(createServiceAccount(ctx, cl, name), createRootCA(ctx, cl, name, string(caCert))); err != nil {
			return err
		}
	}
	return nil
}
