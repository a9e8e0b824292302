#include "tensor_view.h"

#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace secateur {
namespace {

// DLPack's structures, version 1, as they lie in memory.
struct Owned {  // a tensor with its memory
    std::uint32_t major = 1, minor = 0;
    void* context = nullptr;
    void (*release)(Owned* self) = nullptr;
    std::uint64_t flags = 0;
    nb::dlpack::dltensor tensor;
};

struct Exchange {  // the table of functions behind a type's `__dlpack_c_exchange_api__`
    std::uint32_t major, minor;
    const Exchange* earlier;
    void (*allocate)(), (*owned_of_object)();  // not called here
    int (*object_of_owned)(Owned* owned, void** object);
    int (*view_of_object)(void* object, nb::dlpack::dltensor* view);  // the object keeps shape, strides and memory; may be null
    void (*current_stream)();
};

// What is asked of each tensor, by interned name; torch's own constants. Made once and never freed: they live as long as torch.
struct Torch {
    nb::handle float32, float64, int32, int64, strided, tensor, parameter;
    nb::handle dtype, layout, shape, is_cpu, is_contiguous, data_ptr, numel, new_empty;
    const Exchange* exchange = nullptr;  // null where torch is older than it
    Torch() {
        const nb::module_ torch = nb::module_::import_("torch");
        float32 = nb::object(torch.attr("float32")).release();
        float64 = nb::object(torch.attr("float64")).release();
        int32 = nb::object(torch.attr("int32")).release();
        int64 = nb::object(torch.attr("int64")).release();
        strided = nb::object(torch.attr("strided")).release();
        tensor = nb::object(torch.attr("Tensor")).release();
        parameter = nb::object(torch.attr("nn").attr("Parameter")).release();
        if (nb::hasattr(tensor, "__dlpack_c_exchange_api__")) {
            const nb::object capsule = tensor.attr("__dlpack_c_exchange_api__");
            const auto* found = static_cast<const Exchange*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
            if (!found) nb::raise_python_error();
            if (found->major == 1 && found->view_of_object) exchange = found;
        }
        for (const auto& [name, text] : {std::pair{&dtype, "dtype"}, {&layout, "layout"}, {&shape, "shape"}, {&is_cpu, "is_cpu"},
                                         {&is_contiguous, "is_contiguous"}, {&data_ptr, "data_ptr"}, {&numel, "numel"}, {&new_empty, "new_empty"}})
            *name = nb::handle(PyUnicode_InternFromString(text));
    }
};

const Torch& torch_names() {
    static const Torch* names = new Torch;
    return *names;
}

nb::object attribute(nb::handle of, nb::handle name) {
    PyObject* found = PyObject_GetAttr(of.ptr(), name.ptr());
    if (!found) nb::raise_python_error();
    return nb::steal(found);
}

nb::object called(nb::handle of, nb::handle name) {
    PyObject* found = PyObject_CallMethodNoArgs(of.ptr(), name.ptr());
    if (!found) nb::raise_python_error();
    return nb::steal(found);
}

void check_tensor(nb::handle tensor, const char* name) {
    const int is_tensor = PyObject_IsInstance(tensor.ptr(), torch_names().tensor.ptr());
    if (is_tensor < 0) nb::raise_python_error();
    if (!is_tensor) throw nb::type_error((std::string(name) + " must be a torch.Tensor").c_str());
}

constexpr nb::dlpack::dtype kFloat32{std::uint8_t(nb::dlpack::dtype_code::Float), 32, 1};
constexpr nb::dlpack::dtype kFloat64{std::uint8_t(nb::dlpack::dtype_code::Float), 64, 1};
constexpr nb::dlpack::dtype kInt32{std::uint8_t(nb::dlpack::dtype_code::Int), 32, 1};
constexpr nb::dlpack::dtype kInt64{std::uint8_t(nb::dlpack::dtype_code::Int), 64, 1};

// A tensor seen as plain memory. Not `found` where it is not plain, or cannot be seen so: its properties then tell which.
struct Sight {
    bool found = false;
    nb::dlpack::dltensor view;

    explicit Sight(nb::handle tensor) {
        const Torch& names = torch_names();
        PyTypeObject* type = Py_TYPE(tensor.ptr());
        // Other types may stand for something else than the memory they hold.
        if (!names.exchange || (type != (PyTypeObject*)names.tensor.ptr() && type != (PyTypeObject*)names.parameter.ptr())) return;
        if (names.exchange->view_of_object(tensor.ptr(), &view) == 0)
            found = view.device.device_type == nb::device::cpu::value && contiguous();
        else
            PyErr_Clear();
    }

    bool contiguous() const {
        if (!view.strides) return true;
        std::int64_t step = 1;
        bool follows = true;
        for (int axis = view.ndim; axis-- > 0; step *= view.shape[axis]) {
            if (view.shape[axis] == 0) return true;
            follows = follows && (view.shape[axis] == 1 || view.strides[axis] == step);
        }
        return follows;
    }

    bool is(nb::dlpack::dtype dtype) const { return found && view.dtype == dtype; }
    bool is(Number number) const { return is(number == Number::single ? kFloat32 : kFloat64); }
    bool has(std::initializer_list<std::int64_t> shape) const {
        return view.ndim == int(shape.size()) && std::equal(shape.begin(), shape.end(), view.shape);
    }
    std::int64_t count() const {
        std::int64_t product = 1;
        for (int axis = 0; axis < view.ndim; ++axis) product *= view.shape[axis];
        return product;
    }
    void* memory() const { return static_cast<char*>(view.data) + view.byte_offset; }
};

}  // namespace

Number number_of(nb::handle tensor, const char* name) {
    const Sight sight(tensor);
    if (sight.is(kFloat32)) return Number::single;
    if (sight.is(kFloat64)) return Number::twofold;
    check_tensor(tensor, name);
    const nb::object dtype = attribute(tensor, torch_names().dtype);
    if (dtype.is(torch_names().float32)) return Number::single;
    if (dtype.is(torch_names().float64)) return Number::twofold;
    throw nb::type_error((std::string(name) + " must be float32 or float64, not " + nb::str(dtype).c_str()).c_str());
}

std::int64_t length_of(nb::handle tensor, const char* name, int axes, int axis) {
    const Sight sight(tensor);
    if (sight.found && sight.view.ndim == axes) return sight.view.shape[axis];
    check_tensor(tensor, name);
    const nb::object shape = attribute(tensor, torch_names().shape);
    if (!PyTuple_Check(shape.ptr()) || PyTuple_GET_SIZE(shape.ptr()) != axes)
        throw nb::value_error((std::string(name) + " must have " + std::to_string(axes) + " axes, not shape " + nb::str(shape).c_str()).c_str());
    return nb::cast<std::int64_t>(nb::handle(PyTuple_GET_ITEM(shape.ptr(), axis)));
}

namespace {

// What every tensor must be; its memory.
void check_plain(nb::handle tensor, const char* name) {
    const Torch& names = torch_names();
    if (!attribute(tensor, names.is_cpu).is(nb::handle(Py_True))) throw nb::value_error((std::string(name) + " must be on the CPU").c_str());
    if (!attribute(tensor, names.layout).is(names.strided)) throw nb::value_error((std::string(name) + " must be a strided tensor").c_str());
    if (!called(tensor, names.is_contiguous).is(nb::handle(Py_True))) throw nb::value_error((std::string(name) + " must be contiguous").c_str());
}

void* pointer_of(nb::handle tensor) {
    return reinterpret_cast<void*>(nb::cast<std::uintptr_t>(called(tensor, torch_names().data_ptr)));
}

const std::int64_t* numbers_of(nb::handle tensor, const char* name) {
    const Sight sight(tensor);
    if (sight.is(kInt64)) return static_cast<const std::int64_t*>(sight.memory());
    if (!attribute(tensor, torch_names().dtype).is(torch_names().int64)) throw nb::type_error((std::string(name) + " must be int64").c_str());
    check_plain(tensor, name);
    return static_cast<const std::int64_t*>(pointer_of(tensor));
}

}  // namespace

const std::int64_t* ids_of(nb::handle tensor, const char* name, std::int64_t limit, std::int64_t* count) {
    *count = length_of(tensor, name, 1, 0);
    const std::int64_t* ids = numbers_of(tensor, name);
    for (std::int64_t i = 0; i < *count; ++i)
        if (ids[i] < 0 || ids[i] >= limit)
            throw nb::index_error((std::string(name) + " must lie in [0, " + std::to_string(limit) + "), not be " + std::to_string(ids[i])).c_str());
    return ids;
}

namespace {

void check_number(nb::handle tensor, const char* name, Number number) {
    if (number_of(tensor, name) == number) return;
    const nb::object found = attribute(tensor, torch_names().dtype);
    throw nb::type_error((std::string(name) + " must be of the layer's dtype, not " + nb::str(found).c_str()).c_str());
}

void* memory_of_shape(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape) {
    check_plain(tensor, name);
    const nb::object found = attribute(tensor, torch_names().shape);
    bool fits = PyTuple_Check(found.ptr()) && PyTuple_GET_SIZE(found.ptr()) == Py_ssize_t(shape.size());
    Py_ssize_t axis = 0;
    for (const std::int64_t length : shape) {
        if (!fits) break;
        fits = nb::cast<std::int64_t>(nb::handle(PyTuple_GET_ITEM(found.ptr(), axis++))) == length;
    }
    if (!fits) {
        std::string wanted;
        for (const std::int64_t length : shape) wanted += (wanted.empty() ? "" : ", ") + std::to_string(length);
        throw nb::value_error((std::string(name) + " must have shape (" + wanted + "), not " + nb::str(found).c_str()).c_str());
    }
    return pointer_of(tensor);
}

}  // namespace

void* memory_of(nb::handle tensor, const char* name, Number number, std::initializer_list<std::int64_t> shape) {
    const Sight sight(tensor);
    if (sight.is(number) && sight.has(shape)) return sight.memory();
    check_number(tensor, name, number);
    return memory_of_shape(tensor, name, shape);
}

void* memory_of(nb::handle tensor, const char* name, Number number, std::int64_t* count) {
    const Sight sight(tensor);
    if (sight.is(number)) return *count = sight.count(), sight.memory();
    check_number(tensor, name, number);
    check_plain(tensor, name);
    *count = nb::cast<std::int64_t>(called(tensor, torch_names().numel));
    return pointer_of(tensor);
}

std::int32_t* places_of(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape) {
    const Sight sight(tensor);
    if (sight.is(kInt32) && sight.has(shape)) return static_cast<std::int32_t*>(sight.memory());
    check_tensor(tensor, name);
    if (!attribute(tensor, torch_names().dtype).is(torch_names().int32)) throw nb::type_error((std::string(name) + " must be int32").c_str());
    return static_cast<std::int32_t*>(memory_of_shape(tensor, name, shape));
}

namespace {

constexpr int kAxes = 4;
constexpr std::int64_t kAlignment = 64;  // a cache line, and the widest vector

// A tensor of ours as DLPack hands it over, and what this points to.
struct NewTensor : Owned {
    std::int64_t lengths[kAxes], steps[kAxes];
    void* block;

    NewTensor(const std::int64_t* shape, int axes, nb::dlpack::dtype dtype) {
        std::int64_t count = 1, bytes;
        bool fits = true;
        for (int axis = axes; axis-- > 0; fits = fits && !__builtin_mul_overflow(count, shape[axis], &count))
            lengths[axis] = shape[axis], steps[axis] = count;
        fits = fits && !__builtin_mul_overflow(count, dtype.bits / 8, &bytes) && !__builtin_add_overflow(bytes, kAlignment, &bytes);
        block = fits ? std::malloc(std::size_t(bytes)) : nullptr;
        if (!block) throw std::bad_alloc();
        context = this;
        release = [](Owned* self) { delete static_cast<NewTensor*>(self->context); };
        const std::uintptr_t aligned = (reinterpret_cast<std::uintptr_t>(block) + kAlignment - 1) / kAlignment * kAlignment;
        tensor = {reinterpret_cast<void*>(aligned), {nb::device::cpu::value, 0}, axes, dtype, lengths, steps, 0};
    }
    NewTensor(const NewTensor&) = delete;
    NewTensor& operator=(const NewTensor&) = delete;
    ~NewTensor() { std::free(block); }
};

nb::object new_plain(const std::int64_t* shape, int axes, nb::dlpack::dtype dtype, void** memory) {
    auto* owned = new NewTensor(shape, axes, dtype);
    *memory = owned->tensor.data;
    void* object = nullptr;  // which owns the tensor from now on
    if (torch_names().exchange->object_of_owned(owned, &object) != 0) nb::raise_python_error();
    return nb::steal(static_cast<PyObject*>(object));
}

// As torch makes it, where `like` is of a type of its own or torch is older than the exchange functions.
nb::object new_by_torch(nb::handle like, nb::handle shape) {
    PyObject* made = PyObject_CallMethodOneArg(like.ptr(), torch_names().new_empty.ptr(), shape.ptr());
    if (!made) nb::raise_python_error();
    return nb::steal(made);
}

}  // namespace

nb::object new_tensor(nb::handle like, nb::handle shape) {
    const Sight sight(like);
    const Py_ssize_t axes = PyTuple_Check(shape.ptr()) ? PyTuple_GET_SIZE(shape.ptr()) : kAxes + 1;
    if (!sight.found || axes > kAxes) return new_by_torch(like, shape);
    std::int64_t lengths[kAxes];
    for (Py_ssize_t axis = 0; axis < axes; ++axis) {
        lengths[axis] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), axis));
        if (lengths[axis] == -1 && PyErr_Occurred()) nb::raise_python_error();
        if (lengths[axis] < 0) throw nb::value_error("a tensor has no negative length");
    }
    void* memory;
    return new_plain(lengths, int(axes), sight.view.dtype, &memory);
}

nb::object new_tensor(nb::handle like, Number number, std::initializer_list<std::int64_t> shape, void** memory) {
    if (Sight(like).is(number)) return new_plain(shape.begin(), int(shape.size()), number == Number::single ? kFloat32 : kFloat64, memory);
    nb::object lengths = nb::steal(PyTuple_New(Py_ssize_t(shape.size())));
    Py_ssize_t axis = 0;
    for (const std::int64_t length : shape) PyTuple_SET_ITEM(lengths.ptr(), axis++, PyLong_FromLongLong(length));
    nb::object made = new_by_torch(like, lengths);
    *memory = memory_of(made, "a new tensor", number, shape);
    return made;
}

}  // namespace secateur
