/* Empty libraries that satisfy the loader of TensorRT's Python bindings, whichever version.
 *
 * The bindings import some factories by name and reach everything else through virtual tables. Each
 * factory here asks a hook, which `nvinfer.py` sets by ctypes; where none is set it gives nothing.
 * Written from the names that the bindings import; no header of NVIDIA's is used.
 */
#include <stddef.h>

typedef void *(*Factory)(void *, void *, void *);
#define FACTORY(name) \
    Factory hook_##name; \
    void *name(void *a, void *b, void *c) { return hook_##name ? hook_##name(a, b, c) : NULL; }

#ifdef INFER
FACTORY(createInferBuilder_INTERNAL)
FACTORY(createInferRefitter_INTERNAL)
FACTORY(createInferRuntime_INTERNAL)
FACTORY(getBuilderPluginRegistry)
FACTORY(getPluginRegistry)
#endif
#ifdef ONNXPARSER
FACTORY(createNvOnnxParser_INTERNAL)
FACTORY(createNvOnnxParserRefitter_INTERNAL)
int getNvOnnxParserVersion(void) { return VERSION; }
#endif
#ifdef PLUGIN
_Bool initLibNvInferPlugins(void *logger, const char *name) { return 1; }
#endif
#ifdef PARSERS
FACTORY(_ZN11nvuffparser15createUffParserEv)
FACTORY(_ZN14nvcaffeparser117createCaffeParserEv)
FACTORY(_ZN14nvcaffeparser123shutdownProtobufLibraryEv)
FACTORY(_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi)
#endif
