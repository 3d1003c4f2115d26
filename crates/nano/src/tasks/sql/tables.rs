//! The names of tables and columns, and how questions are put.

pub(super) const TABLES: &[(&str, &str)] = &[
    ("orders", "订单"),
    ("customers", "客户"),
    ("employees", "员工"),
    ("products", "产品"),
    ("invoices", "发票"),
    ("students", "学生"),
    ("courses", "课程"),
    ("books", "图书"),
    ("flights", "航班"),
    ("hotels", "酒店"),
    ("patients", "病人"),
    ("projects", "项目"),
    ("stores", "门店"),
    ("trips", "行程"),
    ("tickets", "工单"),
    ("machines", "设备"),
    ("payments", "付款"),
    ("contracts", "合同"),
    ("suppliers", "供应商"),
    ("meals", "菜品"),
    ("films", "电影"),
    ("songs", "歌曲"),
    ("players", "球员"),
    ("matches", "比赛"),
    ("cars", "汽车"),
    ("houses", "房屋"),
    ("loans", "贷款"),
    ("visits", "访问"),
    ("members", "会员"),
    ("shipments", "货运"),
    ("reviews", "评论"),
    ("events", "活动"),
    ("farms", "农场"),
    ("ships", "船只"),
    ("tasks", "任务"),
    ("teams", "团队"),
    ("plants", "植物"),
    ("sensors", "传感器"),
    ("repairs", "维修"),
    ("rooms", "房间"),
];
pub(super) const TEXTS: &[(&str, &str)] = &[
    ("name", "名称"),
    ("city", "城市"),
    ("country", "国家"),
    ("category", "类别"),
    ("status", "状态"),
    ("color", "颜色"),
    ("department", "部门"),
    ("manager", "经理"),
    ("brand", "品牌"),
    ("region", "地区"),
    ("type", "类型"),
    ("owner", "负责人"),
    ("title", "标题"),
    ("author", "作者"),
    ("supplier", "供货商"),
    ("customer", "顾客"),
    ("level", "级别"),
    ("channel", "渠道"),
    ("language", "语言"),
    ("team", "小组"),
    ("genre", "流派"),
    ("material", "材料"),
    ("model", "型号"),
    ("seller", "卖家"),
    ("street", "街道"),
    ("school", "学校"),
    ("doctor", "医生"),
    ("driver", "司机"),
    ("origin", "产地"),
    ("sponsor", "赞助商"),
];
pub(super) const NUMBERS: &[(&str, &str)] = &[
    ("amount", "金额"),
    ("price", "价格"),
    ("quantity", "数量"),
    ("salary", "工资"),
    ("age", "年龄"),
    ("score", "分数"),
    ("weight", "重量"),
    ("length", "长度"),
    ("rating", "评分"),
    ("stock", "库存"),
    ("cost", "成本"),
    ("budget", "预算"),
    ("hours", "工时"),
    ("distance", "距离"),
    ("capacity", "容量"),
    ("discount", "折扣"),
    ("profit", "利润"),
    ("height", "高度"),
    ("views", "浏览量"),
    ("points", "积分"),
    ("fee", "费用"),
    ("tax", "税额"),
    ("speed", "速度"),
    ("power", "功率"),
    ("seats", "座位数"),
    ("pages", "页数"),
    ("balance", "余额"),
    ("area", "面积"),
    ("income", "收入"),
    ("unit_price", "单价"),
];
pub(super) const DATES: &[(&str, &str)] = &[
    ("date", "日期"),
    ("created", "创建日期"),
    ("start_date", "开始日期"),
    ("birthday", "生日"),
    ("deadline", "期限"),
    ("hired", "入职日期"),
    ("order_date", "下单日期"),
    ("due_date", "到期日"),
    ("delivered", "送达日期"),
    ("updated", "更新日期"),
    ("paid", "付款日期"),
    ("opened", "开业日期"),
];

pub(super) const PROMPTS_EN: &[&str] = &[
    "{schema}\n<|\n>{question}",
    "<Write|Give me|Return> <SQL|a SQL query|one query>.\n{schema}\n{question}",
    "<Tables|Schema|Table>:\n{schema}\n<|\n><Question: |>{question}",
    "<Given|With|Using> the <tables|schema|table>\n{schema}\n<write|give> a query: {question}",
    "{question}\n<|\n><Schema|Tables|Table>:\n{schema}",
    "<Translate|Turn this> <to|into> SQL: {question}\n{schema}",
    "<Database|Data>:\n{schema}\n\nAnswer with SQL: {question}",
    "<I have|We have> this <table|schema>.\n{schema}\n<Which|What> SQL <answers|query answers> this? {question}",
    "SQL<|, please>: {question}\n{schema}",
];
pub(super) const PROMPTS_ZH: &[&str] = &[
    "{schema}\n<|\n>{question}",
    "<写|给我|请写><SQL|一条SQL|查询>。\n{schema}\n{question}",
    "<表|表结构|数据表>：\n{schema}\n<|\n><问题：|>{question}",
    "<已知|根据><表|表结构>\n{schema}\n<写出|给出>查询：{question}",
    "{question}\n<|\n><表结构|表|数据表>：\n{schema}",
    "<翻译|转换>成SQL：{question}\n{schema}",
    "<数据库|数据>：\n{schema}\n\n用SQL回答：{question}",
    "<我有|我们有>这样的表。\n{schema}\n<哪条|什么>SQL能回答？{question}",
    "<请给出|请写>SQL：{question}\n{schema}",
];
pub(super) const IS_EN: &[&str] =
    &["<the |>{c} <is|equals|=> {v}", "{v} is the {c}", "<the |>{c} is <called |exactly |>{v}"];
pub(super) const ABOVE_EN: &[&str] = &[
    "<the |>{c} is <above|more than|greater than|over|higher than|larger than> {v}",
    "<the |>{c} exceeds {v}",
];
pub(super) const BELOW_EN: &[&str] = &["<the |>{c} is <below|less than|under|lower than|smaller than> {v}"];
pub(super) const AFTER_EN: &[&str] = &["<the |>{c} is <after|later than> {v}", "<the |>{c} comes after {v}"];
pub(super) const BEFORE_EN: &[&str] =
    &["<the |>{c} is <before|earlier than> {v}", "<the |>{c} comes before {v}"];
pub(super) const COUNT_EN: &[&str] = &[
    "How many {t} <are there|do we have|exist>{f}?",
    "<Count|Count all> <the |>{t}{f}.",
    "<What is the|Give me the|> number of {t}{f}?",
    "How many <entries|rows> does {t} have{f}?",
];
pub(super) const SUM_EN: &[&str] = &[
    "What is the <total|sum of the|summed> {n} of <the |all |>{t}{f}?",
    "<total|sum of the|summed> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <total|sum of the|summed> {n} <of|for> <the |all |>{t}{f}.",
    "<Add|Sum> up the {n} of <the |all |>{t}{f}.",
];
pub(super) const AVG_EN: &[&str] = &[
    "What is the <average|mean> {n} of <the |all |>{t}{f}?",
    "<average|mean> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <average|mean> {n} <of|for> <the |all |>{t}{f}.",
];
pub(super) const MAX_EN: &[&str] = &[
    "What is the <highest|maximum|largest|biggest> {n} of <the |all |>{t}{f}?",
    "<highest|maximum|largest|biggest> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <highest|maximum|largest|biggest> {n} <of|for> <the |all |>{t}{f}.",
];
pub(super) const MIN_EN: &[&str] = &[
    "What is the <lowest|minimum|smallest|least> {n} of <the |all |>{t}{f}?",
    "<lowest|minimum|smallest|least> {n} <of|in|over> <the |all |>{t}{f}?",
    "<Give|Find|Show|Compute> the <lowest|minimum|smallest|least> {n} <of|for> <the |all |>{t}{f}.",
];
pub(super) const LIST_EN: &[&str] = &[
    "<List|Show|Give me|Find> the {x} of <the |all |>{t}{f}.",
    "<Which|What> {x} do the {t} have{f}?",
    "What is the {x} of <the |all |>{t}{f}?",
];
pub(super) const GROUP_COUNT_EN: &[&str] = &[
    "How many {t} <are there|do we have> <per|for each|for every|by> {x}?",
    "<Count|Count all> <the |>{t} <per|for each|for every|by> {x}.",
    "<Give the|Show the|> number of {t} <per|for each|for every|by> {x}?",
];
pub(super) const GROUP_SUM_EN: &[&str] = &[
    "What is the <total|summed> {n} of <the |all |>{t} <per|for each|for every|by> {x}?",
    "<Total|Sum of> {n} of <the |>{t} <per|for each|for every|by> {x}?",
    "Add up the {n} of <the |>{t} <per|for each|for every|by> {x}.",
];
pub(super) const TOP_EN: &[&str] = &[
    "<Which|What> {x} do the {k} {t} with the <highest|largest|most|biggest> {n} have?",
    "<List|Show|Give me> the {x} of the {k} {t} with the <highest|largest|most|biggest> {n}.",
    "<List|Show|Give me> the {x} of the <top> {k} {t} by {n}.",
    "The {x} of the {k} {t} with the <highest|largest|most|biggest> {n}?",
];
pub(super) const BOTTOM_EN: &[&str] = &[
    "<Which|What> {x} do the {k} {t} with the <lowest|smallest|least> {n} have?",
    "<List|Show|Give me> the {x} of the {k} {t} with the <lowest|smallest|least> {n}.",
    "<List|Show|Give me> the {x} of the <bottom|last> {k} {t} by {n}.",
    "The {x} of the {k} {t} with the <lowest|smallest|least> {n}?",
];
pub(super) const DISTINCT_EN: &[&str] = &[
    "<Which|What> <different|distinct> {x} <are there in|do we have in> <the |>{t}?",
    "<List|Show|Give me> <every|each> {x} of <the |>{t} <once|without duplicates>.",
    "<List|Show|Give me> the <different|distinct> {x} <in|of> <the |>{t}.",
];
// A word has to be met beside others: where a list of words can stand in front of another, all of them do.
pub(super) const IS_ZH: &[&str] =
    &["{c}<|正好|恰好|刚好|确实|必须|要><是|为|等于>{v}", "{c}<叫|叫做|就是|写的是|写着|填的是|=>{v}"];
pub(super) const ABOVE_ZH: &[&str] = &[
    "{c}<|要|必须|应该|得><大于|超过|高于|多于>{v}",
    "{c}<|要|必须|应该|得>在{v}<以上|之上>",
    "{c}<|有|要有|应该有|得有>{v}<以上|之上>",
    "{c}<|要|必须|应该|得>比{v}<大|高|多>",
];
pub(super) const BELOW_ZH: &[&str] = &[
    "{c}<|要|必须|应该|得><小于|低于|不到|少于>{v}",
    "{c}<|要|必须|应该|得>在{v}<以下|之下>",
    "{c}<|有|要有|应该有|得有>{v}<以下|之下>",
    "{c}<|要|必须|应该|得>比{v}<小|低|少>",
];
pub(super) const AFTER_ZH: &[&str] = &[
    "{c}<|要|必须|应该|得><晚于|迟于>{v}",
    "{c}<|要|必须|应该|得>在{v}<之后|以后>",
    "{c}<|要|必须|应该|得>比{v}<晚|更晚>",
];
pub(super) const BEFORE_ZH: &[&str] = &[
    "{c}<|要|必须|应该|得><早于|先于>{v}",
    "{c}<|要|必须|应该|得>在{v}<之前|以前>",
    "{c}<|要|必须|应该|得>比{v}<早|更早>",
];
pub(super) const COUNT_ZH: &[&str] = &[
    "{f}{t}<一共|总共|共|><有多少|有几个|有多少个>？",
    "<统计|查|求|算一下|数一数>{f}{t}的<件数|个数|条数|总个数>。",
    "<一共|总共|共|>有<多少|几个|多少个|多少条>{f}{t}？",
    "{f}{t}的<件数|个数|条数|总个数><是多少|有多少|>？",
];
pub(super) const SUM_ZH: &[&str] = &[
    "{f}{t}的{n}<总和|合计|之和|总计><是多少|有多少|>？",
    "<求|查|算一下|统计|计算>{f}{t}的{n}<总和|合计|之和|总计>。",
    "{f}{t}的<总|总的|总共的>{n}<是多少|有多少|>？",
    "<请|帮我|>把{f}{t}的{n}<加起来|相加|加在一起>。",
    "{f}{t}的{n}<一共|总共|加起来><是多少|有多少|多少>？",
];
pub(super) const AVG_ZH: &[&str] = &[
    "{f}{t}的平均{n}<是多少|有多少|>？",
    "<求|查|算一下|统计|计算>{f}{t}的平均{n}。",
    "{f}{t}的{n}<平均值|均值|平均><是多少|有多少|>？",
    "<求|查|算一下|统计|计算>{f}{t}的{n}<平均值|均值>。",
    "{f}{t}{n}<平均|平均值|均值><是多少|多少>？",
];
pub(super) const MAX_ZH: &[&str] = &[
    "{f}{t}的<最高|最大>{n}<是多少|有多少|>？",
    "<求|查|找出|统计|计算>{f}{t}的<最高|最大>{n}。",
    "{f}{t}的{n}<最大值|最高值|最高|最大|最多><是多少|有多少|>？",
    "<求|查|找出|统计|计算>{f}{t}的{n}<最大值|最高值>。",
];
pub(super) const MIN_ZH: &[&str] = &[
    "{f}{t}的<最低|最小>{n}<是多少|有多少|>？",
    "<求|查|找出|统计|计算>{f}{t}的<最低|最小>{n}。",
    "{f}{t}的{n}<最小值|最低值|最低|最小|最少><是多少|有多少|>？",
    "<求|查|找出|统计|计算>{f}{t}的{n}<最小值|最低值>。",
];
pub(super) const LIST_ZH: &[&str] = &[
    "<列出|显示|查|给我|找出|查询><|所有|全部>{f}{t}的{x}。",
    "{f}{t}的{x}<|都|分别><是什么|有哪些|是哪些>？",
];
pub(super) const GROUP_COUNT_ZH: &[&str] = &[
    "<每个|各个|各|不同|每种>{x}<有|各有|下有><多少|几个|多少个>{t}？",
    "<每个|各个|各|不同|每种>{x}的{t}<件数|个数|条数|总个数><是多少|有多少|>？",
    "<请|帮我|>按{x}<统计|求|分组统计|分组求|分组数>{t}的<件数|个数|条数|总个数>。",
];
pub(super) const GROUP_SUM_ZH: &[&str] = &[
    "<每个|各个|各|不同|每种>{x}的{t}的<总{n}|{n}总和|{n}之和|{n}合计|{n}总计><是多少|有多少|>？",
    "<请|帮我|>按{x}<统计|求|分组统计|分组求|分组算>{t}的<总{n}|{n}总和|{n}之和|{n}合计|{n}总计>。",
];
pub(super) const TOP_ZH: &[&str] = &[
    "{n}<最高|最大|最多>的<|前>{k}个{t}的{x}<是什么|有哪些|是哪些|>？",
    "<列出|显示|查|给我|找出>{n}<最高|最大|最多>的<|前>{k}个{t}的{x}。",
    "按{n}从<高到低|大到小|多到少><|排|排列>，前{k}个{t}的{x}<是什么|有哪些|是哪些|>？",
];
pub(super) const BOTTOM_ZH: &[&str] = &[
    "{n}<最低|最小|最少>的<|前>{k}个{t}的{x}<是什么|有哪些|是哪些|>？",
    "<列出|显示|查|给我|找出>{n}<最低|最小|最少>的<|前>{k}个{t}的{x}。",
    "按{n}从<低到高|小到大|少到多><|排|排列>，前{k}个{t}的{x}<是什么|有哪些|是哪些|>？",
];
pub(super) const DISTINCT_ZH: &[&str] = &[
    "{t}<有|里有|中有|出现过><哪些|什么>不同的{x}？",
    "<列出|显示|查|给我|找出>{t}的<所有|全部|>{x}，<不要重复|去掉重复|不重复>。",
    "<列出|显示|查|给我|找出>{t}的<所有|全部|><不同|不重复>的{x}。",
    "{t}的{x}去重后<是什么|有哪些|是哪些>？",
];
