#include "tensor_view.h"

namespace secateur {
namespace {

// What is asked of each tensor, by interned name; torch's own constants. Made once and never freed: they live as long as torch.
struct Torch {
    nb::handle float32, float64, int32, int64, strided, tensor;
    nb::handle dtype, layout, shape, is_cpu, is_contiguous, data_ptr, numel;
    Torch() {
        const nb::module_ torch = nb::module_::import_("torch");
        float32 = nb::object(torch.attr("float32")).release();
        float64 = nb::object(torch.attr("float64")).release();
        int32 = nb::object(torch.attr("int32")).release();
        int64 = nb::object(torch.attr("int64")).release();
        strided = nb::object(torch.attr("strided")).release();
        tensor = nb::object(torch.attr("Tensor")).release();
        for (const auto& [name, text] : {std::pair{&dtype, "dtype"}, {&layout, "layout"}, {&shape, "shape"}, {&is_cpu, "is_cpu"},
                                         {&is_contiguous, "is_contiguous"}, {&data_ptr, "data_ptr"}, {&numel, "numel"}})
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

}  // namespace

Number number_of(nb::handle tensor, const char* name) {
    check_tensor(tensor, name);
    const nb::object dtype = attribute(tensor, torch_names().dtype);
    if (dtype.is(torch_names().float32)) return Number::single;
    if (dtype.is(torch_names().float64)) return Number::twofold;
    throw nb::type_error((std::string(name) + " must be float32 or float64, not " + nb::str(dtype).c_str()).c_str());
}

std::int64_t length_of(nb::handle tensor, const char* name, int axes, int axis) {
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

}  // namespace

const std::int64_t* ids_of(nb::handle tensor, const char* name, std::int64_t limit, std::int64_t* count) {
    *count = length_of(tensor, name, 1, 0);
    if (!attribute(tensor, torch_names().dtype).is(torch_names().int64)) throw nb::type_error((std::string(name) + " must be int64").c_str());
    check_plain(tensor, name);
    const auto* ids = static_cast<const std::int64_t*>(pointer_of(tensor));
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
    check_number(tensor, name, number);
    return memory_of_shape(tensor, name, shape);
}

void* memory_of(nb::handle tensor, const char* name, Number number, std::int64_t* count) {
    check_number(tensor, name, number);
    check_plain(tensor, name);
    *count = nb::cast<std::int64_t>(called(tensor, torch_names().numel));
    return pointer_of(tensor);
}

std::int32_t* places_of(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape) {
    check_tensor(tensor, name);
    if (!attribute(tensor, torch_names().dtype).is(torch_names().int32)) throw nb::type_error((std::string(name) + " must be int32").c_str());
    return static_cast<std::int32_t*>(memory_of_shape(tensor, name, shape));
}

}  // namespace secateur
